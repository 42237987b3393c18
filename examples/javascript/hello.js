console.log("Hello from JavaScript");
console.log(`2 to the 10 is ${2 ** 10}`);
