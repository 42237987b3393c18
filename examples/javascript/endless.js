// Counts for ever; the time limit ends it.
let count = 0;
while (true) {
  count += 1;
}
