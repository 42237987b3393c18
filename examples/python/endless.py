# Counts for ever; the time limit ends it.
count = 0
while True:
    count += 1
