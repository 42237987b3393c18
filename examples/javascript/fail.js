const settings = undefined;
console.log(settings.name);
