# primes.py: how many primes below n
import sys

def count_primes(n):
    sieve = bytearray([1]) * (n + 1)
    sieve[:2] = b"\0\0"
    for i in range(2, int(n ** 0.5) + 1):
        if sieve[i]:
            sieve[i * i::i] = bytes(len(sieve[i * i::i]))
    return sum(sieve)

print(count_primes(int(sys.argv[1]) if len(sys.argv) > 1 else 1000000))
