// mocha's own spec reporter, which also writes "passes failures pending" to the file of the option `counts`, and adds each failure, as soon
// as it is seen, to the file of the option `failures`: a line with the test, and its error below.
const { appendFileSync, writeFileSync } = require('node:fs');
const { relative } = require('node:path');
const { reporters, Runner } = require('mocha');

module.exports = class CountReporter extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const { counts, failures } = options.reporterOptions;
    runner.on(Runner.constants.EVENT_TEST_FAIL, (test, error) => {
      const title = `${relative(process.cwd(), test.file ?? '')}: ${test.fullTitle()}`;
      const why = String(error?.stack ?? error)
        .split('\n')
        .slice(0, 12);
      appendFileSync(failures, [title, ...why.map((line) => `    ${line}`)].join('\n') + '\n');
    });
    runner.once('end', () => {
      const { passes, failures: failed, pending } = this.stats;
      writeFileSync(counts, `${passes} ${failed} ${pending}\n`);
    });
  }
};
