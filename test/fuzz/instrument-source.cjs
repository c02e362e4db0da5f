// Rewrites a source file so that its blocks count and its comparisons tell (test/fuzz/instrument.mjs).
const ts = require('typescript');

const options = {
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true,
  inlineSourceMap: true,
  inlineSources: false,
  allowJs: true,
};
const { factory } = ts;

/** JavaScript of a source file; with `instrumented`, its blocks count and its comparisons tell. */
module.exports.compile = (source, path, instrumented) => {
  const state = { next: 0, words: new Set() };
  const transform = (context) => (file) => {
    const visit = (node) =>
      ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
        ? node
        : rewrite(ts.visitEachChild(node, visit, context), state);
    const body = ts.visitEachChild(file, visit, context);
    return factory.updateSourceFile(body, withPrologue(body.statements, state));
  };
  return ts.transpileModule(source, {
    fileName: path,
    compilerOptions: options,
    transformers: { before: instrumented ? [transform] : [] },
  }).outputText;
};

/** `const tvmmpCounts = globalThis.tvmmpProbe.enter(count, words)` after directives and before everything else. */
function withPrologue(statements, state) {
  const directives = statements.findIndex(
    (one) => !(ts.isExpressionStatement(one) && ts.isStringLiteral(one.expression)),
  );
  const at = directives < 0 ? statements.length : directives;
  const words = [...state.words].map((word) =>
    typeof word === 'number' ? factory.createNumericLiteral(word) : factory.createStringLiteral(word),
  );
  const call = factory.createCallExpression(member('enter'), undefined, [
    factory.createNumericLiteral(state.next),
    factory.createArrayLiteralExpression(words),
  ]);
  const declaration = factory.createVariableDeclaration('tvmmpCounts', undefined, undefined, call);
  const list = factory.createVariableDeclarationList([declaration], ts.NodeFlags.Const);
  return [
    ...statements.slice(0, at),
    factory.createVariableStatement(undefined, list),
    ...statements.slice(at),
  ];
}

function member(name) {
  const probe = factory.createPropertyAccessExpression(factory.createIdentifier('globalThis'), 'tvmmpProbe');
  return factory.createPropertyAccessExpression(probe, name);
}

function counter(state) {
  const cell = factory.createElementAccessExpression(
    factory.createIdentifier('tvmmpCounts'),
    factory.createNumericLiteral(state.next++),
  );
  return factory.createPostfixIncrement(cell);
}

const counted = (block, state) =>
  factory.updateBlock(block, [factory.createExpressionStatement(counter(state)), ...block.statements]);

function countedStatement(statement, state) {
  if (statement === undefined) return undefined;
  if (ts.isBlock(statement)) return counted(statement, state);
  return factory.createBlock([factory.createExpressionStatement(counter(state)), statement]);
}

const countedExpression = (expression, state) =>
  factory.createParenthesizedExpression(factory.createCommaListExpression([counter(state), expression]));

const SHORT_CIRCUIT = new Set([
  ts.SyntaxKind.AmpersandAmpersandToken,
  ts.SyntaxKind.BarBarToken,
  ts.SyntaxKind.QuestionQuestionToken,
]);

function rewrite(node, state) {
  if (
    ts.isStringLiteralLike(node) &&
    node.text.length > 1 &&
    node.text.length <= 64 &&
    !/ /.test(node.text)
  ) {
    state.words.add(node.text);
  } else if (ts.isNumericLiteral(node) && Number(node.text) > 255) {
    state.words.add(Number(node.text));
  }
  if (ts.isIfStatement(node)) {
    const other =
      countedStatement(node.elseStatement, state) ??
      factory.createBlock([factory.createExpressionStatement(counter(state))]);
    return factory.updateIfStatement(
      node,
      node.expression,
      countedStatement(node.thenStatement, state),
      other,
    );
  }
  if (ts.isConditionalExpression(node)) {
    const { condition, questionToken, whenTrue, colonToken, whenFalse } = node;
    const arms = [countedExpression(whenTrue, state), countedExpression(whenFalse, state)];
    return factory.updateConditionalExpression(node, condition, questionToken, arms[0], colonToken, arms[1]);
  }
  if (ts.isBinaryExpression(node)) return rewriteBinary(node, state);
  if (ts.isCaseClause(node)) {
    const statements = [factory.createExpressionStatement(counter(state)), ...node.statements];
    return factory.updateCaseClause(node, node.expression, statements);
  }
  return rewriteBody(node, state);
}

function rewriteBinary(node, state) {
  const { kind } = node.operatorToken;
  if (SHORT_CIRCUIT.has(kind)) {
    return factory.updateBinaryExpression(
      node,
      node.left,
      node.operatorToken,
      countedExpression(node.right, state),
    );
  }
  const differs = kind === ts.SyntaxKind.ExclamationEqualsEqualsToken;
  if (!differs && kind !== ts.SyntaxKind.EqualsEqualsEqualsToken) return node;
  const call = factory.createCallExpression(member('same'), undefined, [node.left, node.right]);
  return differs ? factory.createPrefixUnaryExpression(ts.SyntaxKind.ExclamationToken, call) : call;
}

/** Bodies of functions, loops and catch clauses. */
function rewriteBody(node, state) {
  if (ts.isFunctionLike(node) && node.body !== undefined) return rewriteFunction(node, state);
  if (ts.isForStatement(node)) {
    const { initializer, condition, incrementor, statement } = node;
    return factory.updateForStatement(
      node,
      initializer,
      condition,
      incrementor,
      countedStatement(statement, state),
    );
  }
  if (ts.isForOfStatement(node)) {
    const { awaitModifier, initializer, expression, statement } = node;
    return factory.updateForOfStatement(
      node,
      awaitModifier,
      initializer,
      expression,
      countedStatement(statement, state),
    );
  }
  if (ts.isForInStatement(node)) {
    return factory.updateForInStatement(
      node,
      node.initializer,
      node.expression,
      countedStatement(node.statement, state),
    );
  }
  if (ts.isWhileStatement(node)) {
    return factory.updateWhileStatement(node, node.expression, countedStatement(node.statement, state));
  }
  if (ts.isDoStatement(node)) {
    return factory.updateDoStatement(node, countedStatement(node.statement, state), node.expression);
  }
  if (ts.isCatchClause(node))
    return factory.updateCatchClause(node, node.variableDeclaration, counted(node.block, state));
  return node;
}

function rewriteFunction(node, state) {
  const { modifiers, asteriskToken, name, typeParameters, parameters, type, body } = node;
  const changed = ts.isBlock(body) ? counted(body, state) : countedExpression(body, state);
  switch (node.kind) {
    case ts.SyntaxKind.ArrowFunction:
      return factory.updateArrowFunction(
        node,
        modifiers,
        typeParameters,
        parameters,
        type,
        node.equalsGreaterThanToken,
        changed,
      );
    case ts.SyntaxKind.FunctionDeclaration:
      return factory.updateFunctionDeclaration(
        node,
        modifiers,
        asteriskToken,
        name,
        typeParameters,
        parameters,
        type,
        changed,
      );
    case ts.SyntaxKind.FunctionExpression:
      return factory.updateFunctionExpression(
        node,
        modifiers,
        asteriskToken,
        name,
        typeParameters,
        parameters,
        type,
        changed,
      );
    case ts.SyntaxKind.MethodDeclaration:
      return factory.updateMethodDeclaration(
        node,
        modifiers,
        asteriskToken,
        name,
        node.questionToken,
        typeParameters,
        parameters,
        type,
        changed,
      );
    case ts.SyntaxKind.Constructor:
      return factory.updateConstructorDeclaration(node, modifiers, parameters, changed);
    case ts.SyntaxKind.GetAccessor:
      return factory.updateGetAccessorDeclaration(node, modifiers, name, parameters, type, changed);
    case ts.SyntaxKind.SetAccessor:
      return factory.updateSetAccessorDeclaration(node, modifiers, name, parameters, changed);
    default:
      return node;
  }
}
