"""Counts the primes below a number, the way Eratosthenes did."""
import sys

limit = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
sieve = bytearray([1]) * limit
sieve[0:2] = b"\0\0"
for number in range(2, int(limit**0.5) + 1):
    if sieve[number]:
        sieve[number * number :: number] = bytes(len(range(number * number, limit, number)))
print(f"There are {sum(sieve)} primes below {limit}.")
