#include <iostream>

int main() {
    std::cout << "the quote is missing;
}
