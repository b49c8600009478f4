package importer_test

import (
	"slices"
	"strings"
	"testing"
)

// hydraHash and the others are secrets as the servers keep them.
const (
	hydraHash = "$2a$06$N9qo8uLOickgx2ZMRZoMyeikSNqhNEMQQ9Ms7B5zzyRT0AiMpznNW"
	ownSHA256 = "fU7fRb+g6YdlniuSqviOLWNkda1M/MuPtH6zNI9inF8="
	ownSHA512 = "WaBjQEMpGgVigSigNdjrTC7SNQ5fqJSRoROzA0lAECSDNAmr4A+uDbNl9ufE7jwMvTf2UfBdrrqbgXzlJeIXNQ=="
)

// shapes are files of public repositories and documents, by their members and
// their kinds, with values of our own; from says where.
var shapes = []struct {
	name, from, format, text string
	want                     []string // what becomes of each row
}{
	{
		"a realm of version 1.9, without scopes", "github.com/keycloak/keycloak testsuite/…/migration-test/migration-realm-1.9.8.Final.json", "keycloak",
		`{ "id" : "Shop", "realm" : "Shop", "notBefore" : 0, "privateKey" : "MIIE", "codeSecret" : "c", "roles" : { "realm" : [ { "name" : "offline_access", "scopeParamRequired" : true } ], "client" : { "broker" : [ ] } },
		"requiredCredentials" : [ "password" ], "clientScopeMappings" : { "realm-management" : [ { "client" : "admin-cli", "roles" : [ "realm-admin" ] } ] },
		"clients" : [ { "id" : "1", "clientId" : "account", "name" : "${client_account}", "clientAuthenticatorType" : "client-secret", "secret" : "d42d", "serviceAccountsEnabled" : false, "publicClient" : false, "attributes" : { }, "nodeReRegistrationTimeout" : 0, "protocolMappers" : [ { "name" : "full name", "config" : { "id.token.claim" : "true" } } ], "useTemplateConfig" : false },
		{ "id" : "2", "clientId" : "picker", "clientAuthenticatorType" : "client-secret", "secret" : "` + generated + `", "bearerOnly" : false, "serviceAccountsEnabled" : true, "publicClient" : false, "attributes" : { }, "useTemplateScope" : false } ] }`,
		[]string{"account skipped", "picker created: "},
	},
	{
		"a realm of version 24, with scopes", "github.com/keycloak/keycloak testsuite/…/migration-test/migration-realm-24.0.4.json", "keycloak",
		`{ "id" : "9", "realm" : "Shop", "attributes" : { "cibaInterval" : "5" }, "users" : [ { "username" : "service-account-picker", "serviceAccountClientId" : "picker", "credentials" : [ ] } ],
		"clients" : [ { "clientId" : "picker", "name" : "", "rootUrl" : "", "enabled" : true, "alwaysDisplayInConsole" : false, "clientAuthenticatorType" : "client-secret", "secret" : "` + generated + `", "serviceAccountsEnabled" : true, "publicClient" : false, "frontchannelLogout" : true, "protocol" : "openid-connect",
		"attributes" : { "client.secret.creation.time" : "1712051342", "oauth2.device.authorization.grant.enabled" : "false", "backchannel.logout.session.required" : "true", "access.token.lifespan" : "600", "use.jwks.url" : "false" }, "authenticationFlowBindingOverrides" : { }, "fullScopeAllowed" : true,
		"defaultClientScopes" : [ "web-origins", "acr", "profile", "roles", "email", "orders:read" ], "optionalClientScopes" : [ "address", "phone", "offline_access", "microprofile-jwt" ] } ],
		"clientScopes" : [ { "name" : "microprofile-jwt", "attributes" : { "include.in.token.scope" : "true" } } ], "defaultDefaultClientScopes" : [ "role_list", "profile" ], "defaultOptionalClientScopes" : [ "offline_access" ], "components" : { "org.keycloak.keys.KeyProvider" : [ { "config" : { "privateKey" : [ "x" ] } } ] } }`,
		[]string{"picker created: orders:read"},
	},
	{
		"a realm exported from the console, masked", "github.com/quarkusio/quarkus-quickstarts security-openid-connect-quickstart/config/quarkus-realm.json", "keycloak",
		`{"id":"shop","realm":"shop","roles":{"realm":[{"name":"admin","containerId":"shop","attributes":{}}]},"clients":[{"id":"3","clientId":"backend-service","surrogateAuthRequired":false,"enabled":true,"clientAuthenticatorType":"client-secret","secret":"**********","redirectUris":[],"bearerOnly":false,"serviceAccountsEnabled":true,"publicClient":false,"protocol":"openid-connect","attributes":{},"nodeReRegistrationTimeout":-1,"protocolMappers":[{"name":"Client ID","config":{"user.session.note":"clientId"}}],"defaultClientScopes":["web-origins","role_list"]},
		{"clientId":"realm-management","name":"${client_realm-management}","secret":"**********","bearerOnly":true,"serviceAccountsEnabled":false}]}`,
		[]string{"backend-service refused: secret is masked", "realm-management skipped"},
	},
	{
		"a realm written by hand, of few members", "github.com/keycloak/keycloak testsuite/…/base/src/test/resources/testrealm.json", "keycloak",
		`{"id":"shop","realm":"shop","enabled":true,"defaultRoles":["user"],"smtpServer":{"port":"3025"},"users":[{"username":"u","realmRoles":["user"]}],"scopeMappings":[{"client":"third-party","roles":["user"]}],
		"clients":[{"clientId":"app","enabled":true,"baseUrl":"http://localhost/app","redirectUris":["http://localhost/app/*"],"secret":"password","fullScopeAllowed":"false"},{"clientId":"picker","enabled":true,"serviceAccountsEnabled":true,"secret":"password","authorizationSettings":{"policyEnforcementMode":"ENFORCING","resources":[{"name":"x","scopes":[{"name":"admin-access"}]}]}}]}`,
		[]string{"app skipped", "picker created: "},
	},
	{
		"the clients of a realm, as the admin API lists them", "keycloak.org/docs-api, GET /admin/realms/{realm}/clients, and 'kcadm.sh get clients'", "keycloak",
		`[ {"id":"4","clientId":"account","publicClient":true,"protocol":"openid-connect","access":{"view":true,"configure":true,"manage":true}}, {"id":"5","clientId":"picker","enabled":true,"clientAuthenticatorType":"client-secret","secret":"` + generated + `","serviceAccountsEnabled":true,"publicClient":false,"protocol":"openid-connect","attributes":{"client_credentials.use_refresh_token":"false","tls.client.certificate.bound.access.tokens":"false"},"defaultClientScopes":["service_account","orders:read"],"access":{"view":true}} ]`,
		[]string{"account skipped", "picker created: orders:read"},
	},
	{
		"a realm in a repository, to be filled in", "github.com/grcengineering/gigachad-grc auth/realm-export.json, as its README describes it", "keycloak",
		`{"realm":"shop","enabled":true,"sslRequired":"external","clients":[{"clientId":"shop-api","enabled":true,"clientAuthenticatorType":"client-secret","secret":"${KEYCLOAK_CLIENT_SECRET}","redirectUris":["http://localhost:3000/*"],"protocol":"openid-connect","publicClient":false,"serviceAccountsEnabled":true},{"clientId":"shop-web","enabled":true,"publicClient":true}],"defaultDefaultClientScopes":["tenant","roles"],"clientScopes":[{"name":"tenant"}]}`,
		[]string{"shop-api refused: secret: its secret is a placeholder", "shop-web skipped"},
	},
	{
		"clients in appsettings.json, a comma at the end", "github.com/IdentityServer/IdentityServer4 docs/topics/clients.rst", "identityserver",
		`{ "IdentityServer": { "IssuerUri": "urn:sso.company.com", "Clients": [ { "Enabled": true, "ClientId": "local-dev", "ClientName": "Local Development", "ClientSecrets": [ { "Value": "` + ownSHA256 + `" } ], "AllowedGrantTypes": [ "client_credentials" ], "AllowedScopes": [ "api1" ], } ] } }`,
		[]string{"local-dev created: api1"},
	},
	{
		"clients in appsettings.json, to be filled in", "docs.duendesoftware.com/identityserver/fundamentals/clients", "identityserver",
		`{ "IdentityServer": { "Clients": [ { "Enabled": true, "ClientId": "local-dev", "ClientSecrets": [ { "Value": "<Insert Sha256 hash of the secret encoded as Base64 string>" } ], "AllowedGrantTypes": [ "client_credentials" ], "AllowedScopes": [ "api1" ], } ] } }`,
		[]string{"local-dev refused: ClientSecrets, secret 1 is a placeholder"},
	},
	{
		"clients at the top, with comments", "github.com/gplesz/webconf201712 is4inmem/appsettings.json", "identityserver",
		"{\r\n  \"Logging\": { \"IncludeScopes\": false },\r\n  \"Clients\": [\r\n    {\r\n      \"ClientId\": \"client\",\r\n      // 511536EF-F270-4058-80CA-1C89C192F69A\r\n      \"ClientSecrets\": [ { \"Value\": \"" + ownSHA256 + "\" } ],\r\n      \"AllowedGrantTypes\": [ \"client_credentials\" ],\r\n      \"AllowedScopes\": [ \"api1\" ]\r\n    },\r\n    //(...)\r\n  ]\r\n}",
		[]string{"client created: api1"},
	},
	{
		"the seed of an admin tool", "github.com/skoruba/Duende.IdentityServer.Admin shared/identityserverdata.json", "identityserver",
		`{ "IdentityServerData": { "IdentityResources": [ { "Name": "roles", "Enabled": true, "UserClaims": ["role"] }, { "Name": "openid", "Required": true } ], "ApiScopes": [ { "Name": "shop_api", "UserClaims": ["role"] } ], "ApiResources": [ { "Name": "shop_api", "Scopes": ["shop_api"] } ],
		"Clients": [ { "ClientId": "shop_admin", "AllowedGrantTypes": ["authorization_code"], "RequirePkce": true, "ClientSecrets": [ { "Value": "shop_admin_client_secret" } ], "AllowedScopes": ["openid","roles"] }, { "ClientId": "shop_job", "AllowedGrantTypes": ["client_credentials"], "RequireClientSecret": true, "ClientSecrets": [ { "Value": "shop_job_secret" } ], "AllowedScopes": ["roles", "shop_api"] } ] } }`,
		[]string{"shop_admin skipped", "shop_job created: shop_api"},
	},
	{
		"an older seed of an admin tool, with comments", "github.com/skoruba/IdentityServer4.Admin src/…/appsettingsseed.json", "identityserver",
		`{ "SeedData": { "Roles": [ { // may all
		"Name": "Administrator" } ], "Users": [ { "Username": "admin", "Claims": [ { "Type": "name", "Value": "A" } ] } ], "ApiResources": [ { "Name": "api2", "Scopes": [ { "Name": "api2.read_only" } ] } ], "Clients": [ { "ClientId": "job", "AllowedGrantTypes": [ "hybrid", "client_credentials" ], "ClientSecrets": [ { "Value": "job_secret" } ], "AllowedScopes": [ "openid", "email", "api2.read_only" ] } ] } }`,
		[]string{"job created: api2.read_only"},
	},
	{
		"the data of another admin tool", "github.com/Aguafrommars/TheIdServer src/Aguacongas.TheIdServer/README.md", "identityserver",
		`{ "InitialData": { "Clients": [ { "ClientId": "public-server", "ClientName": "Public server Credentials Client", "ClientClaimsPrefix": null, "AllowedGrantTypes": [ "client_credentials" ], "ClientSecrets": [ { "Type": "SharedSecret", "Value": "84137599-13d6-469c-9376-9e372dd2c1be" } ], "Claims": [ { "Type": "role", "Value": "Writer" } ], "BackChannelLogoutSessionRequired": false, "AllowedScopes": [ "openid", "profile", "adminapi" ], "AccessTokenType": "Reference" } ], } }`,
		[]string{"public-server created: adminapi"},
	},
	{
		"secrets as text", "github.com/Soluto/oidc-server-mock README.md", "identityserver",
		`[ { "ClientId": "implicit", "AllowedGrantTypes": [ "implicit" ], "IdentityTokenLifetime": 3600 }, { "ClientId": "job", "ClientSecrets": [ "job-secret" ], "Description": "Client for client credentials flow", "AllowedGrantTypes": [ "client_credentials" ], "AllowedScopes": [ "some-app" ] } ]`,
		[]string{"implicit skipped", "job created: some-app"},
	},
	{
		"secrets in the clear, values as text", "docs.aspnetzero.com, Identity Server 4 integration", "identityserver",
		`{ "IdentityServer": { "IsEnabled": "true", "Clients": [ { "ClientId": "client", "AllowedGrantTypes": [ "password" ], "ClientSecrets": [ { "Value": "def2" } ] }, { "ClientId": "demo", "AllowedGrantTypes": [ "hybrid", "client_credentials" ], "RequireConsent": "true", "AccessTokenLifetime": "1800", "ClientSecrets": [ { "Value": "def2edf7-5d42-4edc-a84a-30136c340e14" } ], "AllowedScopes": [ "openid", "default-api" ], "AllowOfflineAccess": "true" } ] } }`,
		[]string{"client skipped", "demo refused: ClientSecrets, secret 1: a hashed secret: SHA-256 must be 32 bytes and SHA-512 64 bytes, in base64: if it is in the clear, import it in the format plain"},
	},
	{
		"entities of the store, references preserved", "github.com/DuendeSoftware/products, EntityFramework.Entities.Client as System.Text.Json writes it", "identityserver",
		`{"$id":"1","$values":[{"$id":"2","Id":1,"Enabled":true,"ClientId":"job","ClientSecrets":{"$id":"3","$values":[{"$id":"4","ClientId":1,"Client":{"$ref":"2"},"Id":1,"Description":null,"Value":"` + ownSHA512 + `","Expiration":null,"Type":"SharedSecret","Created":"2024-02-03T04:05:06.789"}]},"AllowedGrantTypes":{"$id":"5","$values":[{"$id":"6","Id":1,"GrantType":"client_credentials","ClientId":1,"Client":{"$ref":"2"}}]},"AllowedScopes":{"$id":"7","$values":[{"$id":"8","Id":1,"Scope":"api1","ClientId":1}]},"Claims":{"$id":"9","$values":[]},"AccessTokenLifetime":3600}]}`,
		[]string{"job created: api1"},
	},
	{
		"tables of the store, as FOR JSON joins them", "github.com/pfbrowning/identityserver4-quicker-quickstart-sql Scripts/init_identityserver_config.sql", "identityserver",
		`[{"Id":1,"Enabled":1,"ClientId":"job","ProtocolType":"oidc","AccessTokenLifetime":3600,"AccessTokenType":0,"ClientGrantTypes":[{"GrantType":"client_credentials"}],"ClientScopes":[{"Scope":"openid"},{"Scope":"api"}],"ClientSecrets":[{"Value":"` + ownSHA256 + `","Type":"SharedSecret"}],"ClientClaims":[{"Type":"plan","Value":"gold"}]},{"Id":2,"Enabled":0,"ClientId":"implicit","ClientGrantTypes":[{"GrantType":"implicit"}]}]`,
		[]string{"job created: api", "implicit skipped"},
	},
	{
		"a client, as the admin API shows it", "github.com/ory/hydra client/.snapshots/TestHandler-common-case=fetching_existing_client-endpoint=admin.json", "hydra",
		`{"client_id":"a1","client_name":"","redirect_uris":[],"grant_types":["client_credentials"],"response_types":[],"scope":"offline_access offline openid orders:read","audience":[],"owner":"","policy_uri":"","allowed_cors_origins":[],"contacts":[],"client_secret_expires_at":0,"subject_type":"public","jwks":{},"token_endpoint_auth_method":"client_secret_basic","userinfo_signed_response_alg":"none","metadata":{},"skip_consent":false,"skip_logout_consent":null,"client_credentials_grant_access_token_lifespan":null}`,
		[]string{"a1 refused: client_secret: it has no secret"},
	},
	{
		"a client that was just made, its secret in the clear", "'hydra create client --format json' of github.com/ory/hydra, as public documents show its answer", "hydra",
		`{"client_id":"d383132d-8b1a-405e-a94f-260d5dc07b3b","client_name":"","client_secret":"1ymwKKXRPJhGSq5~H7pAwBXcaw","client_secret_expires_at":0,"client_uri":"","created_at":"2024-08-09T05:56:34Z","grant_types":["client_credentials"],"jwks":{},"logo_uri":"","metadata":{},"owner":"","policy_uri":"","registration_access_token":"ory_at_x.y","registration_client_uri":"http://localhost:4444/oauth2/register/","request_object_signing_alg":"","response_types":["code"],"scope":"offline_access offline openid","subject_type":"public","token_endpoint_auth_method":"client_secret_basic","tos_uri":"","updated_at":"2024-08-09T05:56:33.588728Z"}`,
		[]string{"d383132d-8b1a-405e-a94f-260d5dc07b3b refused: client_secret: a hashed secret of Hydra: it must begin with $2a$ (bcrypt) or $pbkdf2-sha256$: if it is in the clear"},
	},
	{
		"a row of its table", "github.com/ory/hydra internal/fizzmigrate/client/migrations/sql/tests/4_test.sql", "hydra",
		`[{"id":"4-data","client_name":"some-client","client_secret":"` + hydraHash + `","redirect_uris":"http://localhost|http://google","grant_types":"client_credentials|implicit","response_types":"token|id_token","scope":"foo","owner":"ann","policy_uri":"http://policy","contacts":"ann|foo","public":0,"client_secret_expires_at":0,"jwks":"{\"keys\": []}","jwks_uri":"","token_endpoint_auth_method":"client_secret","request_uris":"","pk":4}]`,
		[]string{"4-data created: foo"},
	},
	{
		"pages of a list, a line each", "'hydra list clients --format json' of github.com/ory/hydra cmd/cmd_list_clients.go, page by page", "hydra",
		`{"items":[{"client_id":"a","client_secret":"` + hydraHash + `","grant_types":["client_credentials"],"scope":"x"}],"next_page_token":"eyJ","is_last_page":false}` + "\n" +
			`{"items":[{"client_id":"b","grant_types":["authorization_code"],"token_endpoint_auth_method":"none"}],"next_page_token":"","is_last_page":true}`,
		[]string{"a created: x", "b skipped"},
	},
	{
		"a request to make one, to be filled in", "github.com/isaiahwong/accounts-go docs/client-scripts.md", "hydra",
		`{"client_id":"3494","client_secret":"{{clientSecret}}","grant_types":["authorization_code","refresh_token","client_credentials","implicit"],"response_types":["token","code","id_token"],"scope":"openid offline photos.read","redirect_uris":["https://accounts.example/callback"]}`,
		[]string{"3494 refused: client_secret is a placeholder"},
	},
	{
		"a client with a key", "github.com/ory/hydra, private_key_jwt with jwks_uri", "hydra",
		`[{"client_id":"k","grant_types":["client_credentials"],"scope":"x","token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_signing_alg":"RS256","jwks_uri":"https://client.example/keys","jwks":null,"client_credentials_grant_access_token_lifespan":"10s"}]`,
		[]string{"k created: x"},
	},
	{
		"the description of a client that people use", "github.com/aws/aws-cli awscli/examples/cognito-idp/describe-user-pool-client.rst", "cognito",
		`{ "UserPoolClient": { "UserPoolId": "us-west-2_aaaaaaaab", "ClientName": "MyApp", "ClientId": "38fjsnc484p94kpqsnet7mpld1", "ClientSecret": "CLIENT_SECRET", "LastModifiedDate": 1548108676.163, "CreationDate": 1548108676.163, "RefreshTokenValidity": 30, "ReadAttributes": [ "address", "custom:CustomAttr1" ], "ExplicitAuthFlows": [ "ADMIN_NO_SRP_AUTH" ], "AllowedOAuthFlowsUserPoolClient": false } }`,
		[]string{"38fjsnc484p94kpqsnet7mpld1 skipped"},
	},
	{
		"the description of a client for machines, dates as text", "the answer of 'aws cognito-idp' version 2, as public documents show it", "cognito",
		`{"UserPoolClient":{"UserPoolId":"us-east-1_hMFTc7CNM","ClientName":"job","ClientId":"fk09hmkpbk7sral3cj9ofh5vd","ClientSecret":"e036425rntb3atgvgjpetnuf3mroc2tfdgloarmsn4b2h54072s","LastModifiedDate":"2025-10-16T23:15:29.983000-04:00","CreationDate":"2025-10-16T17:49:31.939000-04:00","RefreshTokenValidity":30,"TokenValidityUnits":{},"SupportedIdentityProviders":["COGNITO"],"AllowedOAuthFlows":["client_credentials"],"AllowedOAuthScopes":["https://shop.example/read"],"AllowedOAuthFlowsUserPoolClient":true,"EnableTokenRevocation":true,"EnablePropagateAdditionalUserContextData":false,"AuthSessionValidity":3}}`,
		[]string{"fk09hmkpbk7sral3cj9ofh5vd created: https://shop.example/read"},
	},
	{
		"an answer of boto3 that was dumped", "an answer of boto3 in tests of a public repository, with ResponseMetadata", "cognito",
		`{"UserPoolClient":{"UserPoolId":"p","ClientName":"t","ClientId":"c1","ClientSecret":"` + generated + `","LastModifiedDate":"2022-02-15 16:52:17.627000","RefreshTokenValidity":30,"TokenValidityUnits":{},"ExplicitAuthFlows":["ALLOW_CUSTOM_AUTH"],"AllowedOAuthFlows":["client_credentials"],"AllowedOAuthScopes":["https://d/WRITE","https://d/READ"],"AllowedOAuthFlowsUserPoolClient":true},"ResponseMetadata":{"RequestId":"7e5b","HTTPStatusCode":200,"RetryAttempts":0}}`,
		[]string{"c1 created: https://d/WRITE https://d/READ"},
	},
	{
		"a list of clients", "boto3.amazonaws.com/v1/documentation/api/1.35.66/reference/services/cognito-idp/client/list_user_pool_clients.html", "cognito",
		`{ "UserPoolClients": [ { "ClientId": "1a2b", "UserPoolId": "us-east-1_ABC124", "ClientName": "job" } ], "NextToken": "x" }`,
		[]string{"1a2b refused: AllowedOAuthFlows and ClientSecret are missing"},
	},
	{
		"descriptions of many, queried", "'aws cognito-idp describe-user-pool-client --query UserPoolClient' in a loop, and 'jq -s'", "cognito",
		`[{"UserPoolId":"p","ClientName":"job","ClientId":"c1","ClientSecret":"` + generated + `","AccessTokenValidity":60,"IdTokenValidity":60,"TokenValidityUnits":{"AccessToken":"minutes","IdToken":"minutes","RefreshToken":"days"},"AllowedOAuthFlows":["client_credentials"],"AllowedOAuthScopes":["shop/read"],"AllowedOAuthFlowsUserPoolClient":true},{"UserPoolId":"p","ClientName":"web","ClientId":"c2","AllowedOAuthFlows":["code"],"AllowedOAuthScopes":["openid","email"]}]`,
		[]string{"c1 created: shop/read", "c2 skipped"},
	},
	{
		"a client without OAuth", "github.com/aws/aws-cli awscli/examples/cognito-idp/create-user-pool-client.rst", "cognito",
		`{ "UserPoolClient": { "UserPoolId": "us-west-2_aaaaaaaab", "ClientName": "MyNewClient", "ClientId": "6p3bs000no6a4ue1idruvd05ae", "LastModifiedDate": 1548697449.497, "CreationDate": 1548697449.497, "RefreshTokenValidity": 30, "ExplicitAuthFlows": [ "USER_PASSWORD_AUTH", "ADMIN_NO_SRP_AUTH" ], "AllowedOAuthFlowsUserPoolClient": false } }`,
		[]string{"6p3bs000no6a4ue1idruvd05ae skipped"},
	},
}

// Files of the shapes that people have in public are read, row by row.
func TestShapesInPublic(t *testing.T) {
	count := map[string]int{}
	for _, shape := range shapes {
		count[shape.format]++
		t.Run(shape.format+", "+shape.name, func(t *testing.T) {
			rows, err := parse(shape.format, strings.NewReader(shape.text))
			if err != nil {
				t.Fatalf("%s: %v", shape.from, err)
			}
			results := plans(t, shape.format, shape.text, nil)
			var got []string
			for i, r := range results {
				text := row(r)
				if r.Outcome == "created" {
					text += ": " + rows[i].Client.Scopes.String()
				}
				got = append(got, text)
			}
			if !slices.EqualFunc(got, shape.want, func(got, want string) bool {
				return got == want || strings.HasPrefix(got, want) && !strings.Contains(want, "created")
			}) {
				t.Errorf("%s: got %q, want %q", shape.from, got, shape.want)
			}
		})
	}
	for format, n := range count {
		if n < 5 {
			t.Errorf("%d shapes of %s", n, format)
		}
	}
}
