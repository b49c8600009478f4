// Starts GraphiQL on the page's own address. Headers that are typed in stay in
// the page: they hold an API key and a token.
(() => {
  const fetcher = GraphiQL.createFetcher({ url: window.location.pathname });
  const root = ReactDOM.createRoot(document.getElementById('graphiql'));
  root.render(
    React.createElement(GraphiQL, {
      fetcher,
      isHeadersEditorEnabled: true,
      shouldPersistHeaders: false,
      defaultEditorToolsVisibility: 'headers',
      defaultHeaders: JSON.stringify({ 'x-api-key': '', Authorization: 'Bearer ' }, null, 2),
      defaultQuery: [
        '# Put your API key and token into the Headers editor below, then run this query.',
        '{',
        '  search(text: "shipping") {',
        '    totalCount',
        '    data {',
        '      ... on Person { name headline }',
        '      ... on Organisation { name sector }',
        '    }',
        '  }',
        '}',
        '',
      ].join('\n'),
    }),
  );
})();
