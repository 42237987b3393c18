"""Notices that something is wrong and says so."""
import sys

print("the input is not there", file=sys.stderr)
sys.exit(3)
