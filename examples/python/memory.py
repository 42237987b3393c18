# Takes one megabyte after another; the memory limit ends it.
blocks = []
while True:
    blocks.append(bytearray(1024 * 1024))
