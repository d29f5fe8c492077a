const _ = require("lodash");
const minimist = require("minimist");
const ms = require("ms");

const { wait = "2h", _: words } = minimist(process.argv.slice(2));
console.log(_.startCase(words.join(" ") || "hello from node"), `(${wait} is ${ms(wait)} ms)`);
