"""Takes more and more memory: the memory limit ends it."""
hoard = []
while True:
    hoard.append(bytearray(b"x") * (8 << 20))
