#include <string>
#include <vector>

// Takes one megabyte after another; the memory limit ends it.
int main() {
    std::vector<std::string> blocks;
    while (true) {
        blocks.emplace_back(1 << 20, 'x');
    }
}
