int main() {
    volatile unsigned long count = 0;
    while (true) {
        count = count + 1;
    }
}
