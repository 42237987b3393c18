// Takes one megabyte after another; the memory limit ends it.
const blocks = [];
while (true) {
  blocks.push(Buffer.alloc(1024 * 1024, 1));
}
