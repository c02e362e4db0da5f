// mocha's own spec reporter, which also adds a line of JSON for each test, as soon as it has ended, to the file of the option `results`.
const { appendFileSync } = require('node:fs');
const { relative } = require('node:path');
const { reporters, Runner } = require('mocha');

const { EVENT_TEST_PASS, EVENT_TEST_FAIL, EVENT_TEST_PENDING } = Runner.constants;

module.exports = class ResultsReporter extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const note = (state) => (test, error) => {
      const file = relative(process.cwd(), test.file ?? '');
      const line = { file, title: test.title, kind: test.type, state, error: error?.message ?? null };
      appendFileSync(options.reporterOptions.results, `${JSON.stringify(line)}\n`);
    };
    runner.on(EVENT_TEST_PASS, note('passed'));
    runner.on(EVENT_TEST_FAIL, note('failed'));
    runner.on(EVENT_TEST_PENDING, note('skipped'));
  }
};
