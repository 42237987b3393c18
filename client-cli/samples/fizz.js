// The children's game.
const words = [];
for (let number = 1; number <= 15; number++) {
  words.push((number % 3 ? "" : "Fizz") + (number % 5 ? "" : "Buzz") || number);
}
console.log(words.join(" "));
