// graph.js: the shortest way through a small graph
const roads = { a: { b: 4, c: 1 }, b: { d: 1 }, c: { b: 2, d: 5 }, d: {} };

function shortest(from, to) {
  const best = { [from]: 0 };
  const open = [from];
  while (open.length > 0) {
    const here = open.shift();
    for (const [next, length] of Object.entries(roads[here])) {
      const total = best[here] + length;
      if (!(next in best) || total < best[next]) {
        best[next] = total;
        open.push(next);
      }
    }
  }
  return best[to];
}

console.log(`a to d: ${shortest("a", "d")}`);
