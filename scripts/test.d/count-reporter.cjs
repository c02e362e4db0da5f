// mocha's own spec reporter, which also writes "passes failures pending" to the file of the option `counts`.
const { writeFileSync } = require('node:fs');
const { reporters } = require('mocha');

module.exports = class CountReporter extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    runner.once('end', () => {
      const { passes, failures, pending } = this.stats;
      writeFileSync(options.reporterOptions.counts, `${passes} ${failures} ${pending}\n`);
    });
  }
};
