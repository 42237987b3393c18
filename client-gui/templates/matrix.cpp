// matrix.cpp: multiplies two matrices and prints a checksum
#include <cstdlib>
#include <iostream>
#include <vector>

int main(int argc, char **argv) {
    const int n = argc > 1 ? std::atoi(argv[1]) : 300;
    std::vector<double> a(n * n, 1.5), b(n * n, 2.0), c(n * n);
    for (int i = 0; i < n; ++i)
        for (int k = 0; k < n; ++k)
            for (int j = 0; j < n; ++j)
                c[i * n + j] += a[i * n + k] * b[k * n + j];
    double sum = 0;
    for (double value : c) sum += value;
    std::cout << n << " x " << n << ", checksum " << sum << "\n";
}
