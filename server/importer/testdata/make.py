# Makes the files beside it, with hashes of other programs than ours: python3 make.py
import hashlib,base64,json,subprocess
b=lambda x: base64.b64encode(x).decode()
def raw(x): return b(x).rstrip('=')
s256=lambda s:b(hashlib.sha256(s.encode()).digest())
node=lambda js: subprocess.check_output(['node','-e',js],text=True).strip()
s512=node("console.log(require('crypto').createHash('sha512').update('secret of five hundred and twelve').digest('base64'))")
ids={"Logging":{"LogLevel":{"Default":"Information"}},"IdentityServer":{"IssuerUri":"https://id.example.com","Clients":[
 {"Enabled":True,"ClientId":"partner","ClientName":"A partner","ClientSecrets":[
   {"Value":s256("the oldest"),"Type":"SharedSecret","Description":"2023","Created":"2023-01-01T00:00:00"},
   {"Value":s256("511536EF-F270-4058-80CA-1C89C192F69A"),"Type":"SharedSecret","Description":"2025","Created":"2025-06-01T10:00:00.1234567"},
   {"Value":s256("yesterday's"),"Description":"2024","Expiration":"2030-01-01T00:00:00Z","Created":"2024-01-01T00:00:00"},
   {"Value":s256("one that is over"),"Expiration":"2026-01-01T00:00:00","Created":"2025-12-01T00:00:00"}],
  "AllowedGrantTypes":["client_credentials"],"AllowedScopes":["read","write"],"AccessTokenLifetime":1800,
  "Claims":[{"Type":"plan","Value":"gold"}]},
 {"ClientId":"long","ClientSecrets":[{"Value":s512}],"AllowedGrantTypes":["client_credentials"],"AllowedScopes":["read"],"Enabled":True},
 {"ClientId":"off","Enabled":False,"ClientSecrets":[{"Value":s256("off")}],"AllowedGrantTypes":["client_credentials"],"AllowedScopes":["read"]},
 {"ClientId":"keys","ClientSecrets":[{"Type":"JWK","Value":'{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}'}],"AllowedGrantTypes":["client_credentials"],"AllowedScopes":["read"]},
 {"ClientId":"web","ClientName":"People sign in here","AllowedGrantTypes":["authorization_code"],"AllowedScopes":["openid","read"],"RedirectUris":["https://web.example.com/cb"]}]}}
open('identityserver.json','w').write(json.dumps(ids,indent=1)+"\n")
perl=subprocess.check_output(['perl','-e','print crypt("hydra secret one", "\\$2a\\$06\\$N9qo8uLOickgx2ZMRZoMye")'],text=True).strip()
assert perl.startswith('$2a$06$') and len(perl)==60, perl
pb=node("const c=require('crypto');const salt=Buffer.from('0123456789abcdef');const k=c.pbkdf2Sync('hydra secret two',salt,25000,32,'sha256');const r=x=>x.toString('base64').replace(/=+$/,'');console.log('$pbkdf2-sha256$i=25000,l=32$'+r(salt)+'$'+r(k))")
hyd={"items":[
 {"client_id":"one","client_name":"Hydra one","client_secret":perl,"grant_types":["client_credentials"],"scope":"read offline_access openid","audience":["https://api.example.com"],"owner":"team-blue","contacts":["ops@example.com","dev@example.com"],"jwks":{},"token_endpoint_auth_method":"client_secret_basic","client_credentials_grant_access_token_lifespan":"30m0s","client_secret_expires_at":0,"metadata":{"a":1},"created_at":"2024-01-01T00:00:00Z"},
 {"client_id":"two","client_name":"","client_secret":pb,"grant_types":["client_credentials"],"scope":"read write","audience":[],"token_endpoint_auth_method":"client_secret_post","client_credentials_grant_access_token_lifespan":None,"metadata":{}},
 {"client_id":"shown","grant_types":["client_credentials"],"scope":"read","token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://client.example.com/jwks.json"},
 {"client_id":"spa","grant_types":["authorization_code","refresh_token"],"scope":"openid","token_endpoint_auth_method":"none"}],"next_page_token":""}
open('hydra.json','w').write(json.dumps(hyd,indent=1)+"\n")
rows=[{"id":"one","client_name":"Hydra one","client_secret":perl,"redirect_uris":"","grant_types":"client_credentials","response_types":"","scope":"read","owner":"","contacts":"ops@example.com|dev@example.com","client_secret_expires_at":0,"jwks":"{}","audience":"","metadata":"{}","client_credentials_grant_access_token_lifespan":1800000000000},
 {"id":"two","client_secret":pb,"grant_types":"client_credentials|authorization_code","scope":"read","jwks":None}]
open('hydra.table.jsonl','w').write("".join(json.dumps(r)+"\n" for r in rows))
salt=b'keycloak salt 16'
key=hashlib.pbkdf2_hmac('sha512',b'keycloak hashed',salt,30000,64)
kc={"id":"11111111-1111-1111-1111-111111111111","realm":"acme","enabled":True,"users":[],"clients":[
 {"clientId":"account","name":"${client_account}","enabled":True,"publicClient":True,"serviceAccountsEnabled":False,"protocol":"openid-connect"},
 {"clientId":"service","name":"A service","enabled":True,"clientAuthenticatorType":"client-secret","secret":"YNqtYBjO0Gi2MTg5JlbJBPLENLWd12KB","serviceAccountsEnabled":True,"publicClient":False,"bearerOnly":False,
  "attributes":{"client.secret.creation.time":"1774463924","client.secret.rotated":"the word before","client.secret.rotated.creation.time":"1674463924","client.secret.rotated.expiration.time":"1893456000","access.token.lifespan":"300"},
  "defaultClientScopes":["web-origins","acr","roles","profile","basic","email","read"],"optionalClientScopes":["address","phone","offline_access","write"]},
 {"clientId":"hashed","enabled":True,"serviceAccountsEnabled":True,"defaultClientScopes":["read"],"credentials":[{"type":"secret","createdDate":1700000000000,"secretData":json.dumps({"value":b(key),"salt":b(salt),"additionalParameters":{}}),"credentialData":json.dumps({"hashIterations":30000,"algorithm":"pbkdf2-sha512","additionalParameters":{}})}]},
 {"clientId":"jwt","enabled":False,"serviceAccountsEnabled":True,"clientAuthenticatorType":"client-jwt","defaultClientScopes":["read"],"attributes":{"use.jwks.url":"true","jwks.url":"https://client.example.com/jwks.json"}}]}
open('keycloak.json','w').write(json.dumps(kc,indent=1)+"\n")
cog=[{"UserPoolClient":{"UserPoolId":"us-east-1_Example","ClientName":"m2m","ClientId":"38fjsnc484p94kpqsnet7mpld0","ClientSecret":"1n00ov39d2dumfh8s2k5mj5adbcnpd4lo62t9g7nfql3rv6v4oe","LastModifiedDate":"2024-01-01T00:00:00+00:00","CreationDate":"2023-01-01T00:00:00+00:00","RefreshTokenValidity":30,"AccessTokenValidity":15,"TokenValidityUnits":{"AccessToken":"minutes"},"AllowedOAuthFlows":["client_credentials"],"AllowedOAuthScopes":["read","write"],"AllowedOAuthFlowsUserPoolClient":True}},
 {"UserPoolClient":{"ClientName":"web","ClientId":"4abcsnc484p94kpqsnet7mpld0","AllowedOAuthFlows":["code"],"AllowedOAuthScopes":["openid"]}},
 {"UserPoolClient":{"ClientName":"hourly","ClientId":"5abcsnc484p94kpqsnet7mpld0","ClientSecret":"0abcov39d2dumfh8s2k5mj5adbcnpd4lo62t9g7nfql3rv6v4oe","AccessTokenValidity":1,"TokenValidityUnits":{},"AllowedOAuthFlows":["client_credentials"],"AllowedOAuthScopes":["read"]}}]
open('cognito.jsonl','w').write("".join(json.dumps(r)+"\n" for r in cog))
pl=[{"client_id":"word","client_secret":"a word","name":"Grüße","scopes":["read"],"tenants":["T1"],"addresses":["127.0.0.0/8","::1"],"labels":{"team":"blue"},"lifetime":"10m","expires":"2030-01-01T00:00:00Z","environment":"sandbox","contact":"ops@example.com"},
 {"client_id":"random","client_secret":"3f6a0c9b1e7d4825a0b6c3f19e8d7042","scopes":"read write","api_key":"8d70423f6a0c9b1e7d4825a0b6c3f19e"},
 {"client_id":"hash","client_secret_hash":"sha256:"+base64.urlsafe_b64encode(hashlib.sha256(b"hashed by someone").digest()).decode().rstrip('='),"scopes":["read"],"lifetime":"600"}]
open('plain.jsonl','w').write("".join(json.dumps(r,ensure_ascii=False)+"\n" for r in pl))
open('plain.csv','w').write('client_id,client_secret,name,scopes,tenants,addresses,labels,lifetime,disabled\nword,a word,"Grüße, sehr",read write,T1 T2,127.0.0.1,team=blue cost=42,10m,\nquoted,"with ""quotes"", and a comma",,read,,,,,false\n')
