// An OpenID Connect provider; prints its issuer. The argument is JSON: packages (where oidc-provider is),
// port (0 is any), secret and callback of its one client, accounts ({name: claims}), claims_in_token, and the
// seconds that its tokens live. It listens on loopback, or with tls ({host, certificate, key}) everywhere.
const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");

const options = JSON.parse(process.argv[2]);
const { Provider } = createRequire(`${options.packages}/`)("oidc-provider");
const { tls } = options;
const server = tls
  ? require("node:https").createServer({ cert: readFileSync(tls.certificate), key: readFileSync(tls.key) })
  : require("node:http").createServer();
server.listen(options.port, tls ? "0.0.0.0" : "127.0.0.1", () => {
  const { port } = server.address();
  const issuer = tls ? `https://${tls.host}:${port}` : `http://127.0.0.1:${port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: "edge",
        client_secret: options.secret,
        redirect_uris: [options.callback],
        grant_types: ["authorization_code", "refresh_token"],
      },
    ],
    claims: { openid: ["sub"], email: ["email", "email_verified"] },
    conformIdTokenClaims: !options.claims_in_token,
    features: { devInteractions: { enabled: true }, revocation: { enabled: true } },
    // The forms ask for a password and take any.
    findAccount: (_context, name) =>
      options.accounts[name] && { accountId: name, claims: () => ({ sub: name, ...options.accounts[name] }) },
    rotateRefreshToken: true,
    ttl: { AccessToken: options.seconds, IdToken: options.seconds },
  });
  server.on("request", provider.callback());
  console.log(issuer);
});
