// Counts the ways to place eight queens that do not attack each other.
#include <iostream>

int place(int row, unsigned columns, unsigned rising, unsigned falling) {
    if (row == 8) return 1;
    int found = 0;
    for (int column = 0; column < 8; column++) {
        unsigned c = 1u << column, r = 1u << (row + column), f = 1u << (row - column + 7);
        if (!(columns & c) && !(rising & r) && !(falling & f)) found += place(row + 1, columns | c, rising | r, falling | f);
    }
    return found;
}

int main() { std::cout << place(0, 0, 0, 0) << " ways to place eight queens.\n"; }
