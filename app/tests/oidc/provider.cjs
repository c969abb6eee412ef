// An OpenID Connect provider on loopback; prints its issuer. The argument is JSON: packages (where
// oidc-provider is), port (0 is any), secret and callback of its one client, accounts ({name: claims}),
// claims_in_token, and the seconds that its tokens live.
const { createServer } = require("node:http");
const { createRequire } = require("node:module");

const options = JSON.parse(process.argv[2]);
const { Provider } = createRequire(`${options.packages}/`)("oidc-provider");
const server = createServer();
server.listen(options.port, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
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
