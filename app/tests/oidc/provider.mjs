// An OpenID Connect provider on loopback. The argument is JSON: port (0 is any), secret and redirect_uris
// of its one client, accounts ({name: claims}), claims_in_token, seconds that a token lives. Prints its issuer.
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const options = JSON.parse(process.argv[2]);
const server = createServer();
await new Promise((resolve) => server.listen(options.port, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "edge",
      client_secret: options.secret,
      redirect_uris: options.redirect_uris,
      grant_types: ["authorization_code", "refresh_token"],
    },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"] },
  conformIdTokenClaims: !options.claims_in_token,
  features: { devInteractions: { enabled: true }, revocation: { enabled: true } },
  // Whoever says a name is that person: the forms ask for a password and take any.
  findAccount: (_context, name) =>
    options.accounts[name] && { accountId: name, claims: () => ({ sub: name, ...options.accounts[name] }) },
  rotateRefreshToken: true,
  ttl: { AccessToken: options.seconds, IdToken: options.seconds },
});
server.on("request", provider.callback());
console.log(issuer);
