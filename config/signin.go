package config

import (
	"time"
)

// Place says where a token stands in a request.
type Place struct {
	Header string `yaml:"header" doc:"Name of the header, such as X-Auth-Token; without it Authorization."`
	Prefix string `yaml:"prefix" doc:"What stands before the token, such as \"token \"; without it \"Bearer \" in Authorization, and nothing in any other header."`
	Query  string `yaml:"query" doc:"Name of a parameter of the query, in place of a header."`
}

// Header is a header that every request has.
type Header struct {
	Name   string `yaml:"name" required:"true" doc:"Name of the header."`
	Value  string `yaml:"value" doc:"Its value, or what stands before the secret."`
	Secret Secret `yaml:"secret" doc:"A value, or the end of one, that nobody may see."`
}

// Key is a private key.
type Key struct {
	Secret   Secret `yaml:"secret" required:"true" doc:"The key: PEM, PKCS#8, PKCS#12 (base64 where it is no file) or JWK; RSA, EC or Ed25519."`
	Password Secret `yaml:"password" doc:"What opens it, where it is encrypted."`
	ID       string `yaml:"id" doc:"Its name (kid)."`
}

// TLSIdentity is a client certificate with its key.
type TLSIdentity struct {
	Secret   Secret `yaml:"secret" required:"true" doc:"Both: PEM, or PKCS#12 (base64 where it is no file); certificates between it and its authority may follow."`
	Password Secret `yaml:"password" doc:"What opens it, where it is encrypted."`
}

// Claims are what a signed assertion says.
type Claims struct {
	Issuer    string         `yaml:"issuer" doc:"iss; without it the client id."`
	Subject   string         `yaml:"subject" doc:"sub: on whose behalf."`
	Audience  string         `yaml:"audience" doc:"aud; without it the token endpoint."`
	Lifetime  time.Duration  `yaml:"lifetime" default:"5m" doc:"How long it is valid."`
	Algorithm string         `yaml:"algorithm" doc:"Such as RS256, PS256, ES256 or EdDSA; without it the key's own."`
	Claims    map[string]any `yaml:"claims" doc:"Further claims."`
}

// Carry is a value of the token's answer that later requests carry.
type Carry struct {
	From     string   `yaml:"from" required:"true" doc:"Where it stands in the answer, such as tenant.id."`
	Header   string   `yaml:"header" doc:"The header that it goes into."`
	Query    string   `yaml:"query" doc:"The parameter of the query that it goes into."`
	Endpoint bool     `yaml:"endpoint" doc:"true: it is the origin that requests go to, in place of the endpoint's."`
	Hosts    []string `yaml:"hosts" doc:"With endpoint: the hosts that the answer may name, such as *.example.com."`
}

// JWT is a sign-in with an assertion that we sign ourselves, sent as a token.
type JWT struct {
	Key    Key    `yaml:"key" required:"true" doc:"The private key."`
	Claims Claims `yaml:"assertion" doc:"What it says."`
	Send   Place  `yaml:"send" doc:"Where it stands in a request."`
}

// AWS is a sign-in with AWS Signature Version 4.
type AWS struct {
	Region          string `yaml:"region" required:"true" doc:"Such as eu-central-1."`
	Service         string `yaml:"service" required:"true" doc:"Such as execute-api, identitystore or s3."`
	AccessKeyID     string `yaml:"access_key_id" doc:"Static keys; without them the usual chain of the environment: variables, shared files, web identity, the container, the machine."`
	SecretAccessKey Secret `yaml:"secret_access_key" doc:"With access_key_id."`
	SessionToken    Secret `yaml:"session_token" doc:"With access_key_id, for keys that end."`
	RoleARN         string `yaml:"role_arn" doc:"A role to assume with them."`
	ExternalID      string `yaml:"external_id" doc:"What the role's owner asks for."`
	SessionName     string `yaml:"session_name" default:"provost" doc:"Name of the role's session."`
	STSEndpoint     string `yaml:"sts_endpoint" doc:"URL of the token service; without it the region's."`
}

// HMAC is a sign-in with a keyed digest of each request.
type HMAC struct {
	Header     string `yaml:"header" default:"Authorization" doc:"The header that it goes into."`
	Prefix     string `yaml:"prefix" doc:"What stands before it; {key_id} is the key's name."`
	KeyID      string `yaml:"key_id" doc:"Name of the key."`
	Key        Secret `yaml:"key" required:"true" doc:"The key."`
	Algorithm  string `yaml:"algorithm" default:"sha256" enum:"sha1,sha256,sha512" doc:"Digest."`
	Encoding   string `yaml:"encoding" default:"hex" enum:"hex,base64" doc:"How the digest is written."`
	Template   string `yaml:"template" default:"{method}\\n{path}\\n{date}\\n{body_sha256}" doc:"What is signed."`
	DateHeader string `yaml:"date_header" default:"Date" doc:"The header that has the date."`
}

// Session is a sign-in by a request of its own, which begins a session.
type Session struct {
	Username string            `yaml:"username" doc:"{!$Credential.Username} in what is sent."`
	Password Secret            `yaml:"password" required:"true" doc:"{!$Credential.Password} in what is sent."`
	Method   string            `yaml:"method" default:"POST" enum:"POST,PUT,GET" doc:"Method of the request that signs in."`
	Path     string            `yaml:"path" required:"true" doc:"Its path, on the endpoint's origin."`
	Form     map[string]string `yaml:"form" doc:"Fields of a form."`
	JSON     map[string]any    `yaml:"json" doc:"A JSON document, in place of a form."`
	Headers  map[string]string `yaml:"headers" doc:"Headers."`
	CSRF     CSRF              `yaml:"csrf" doc:"What the app's page gives and wants back."`
	Keep     string            `yaml:"keep" default:"cookie" enum:"cookie,token" doc:"What is kept of the answer."`
	Token    string            `yaml:"token" doc:"With keep: token: where it stands in the answer, such as data.token, or header:NAME."`
	Send     Place             `yaml:"send" doc:"Where the token stands in later requests."`
	Ended    Ended             `yaml:"ended" doc:"How an answer shows that the session has ended; 401 always does."`
	Lifetime time.Duration     `yaml:"lifetime" doc:"How long a session lasts; without it until an answer shows that it has ended."`
}

// CSRF is a token that a page gives before the sign-in.
type CSRF struct {
	Path   string `yaml:"path" doc:"The page."`
	Cookie string `yaml:"cookie" doc:"The cookie that has it."`
	Header string `yaml:"header" doc:"The header of the answer that has it."`
	Field  string `yaml:"field" doc:"The hidden field of the page's form, or the member of a JSON answer, that has it."`
	SendAs string `yaml:"send_as" doc:"header:NAME or field:NAME that it goes back as."`
}

// Ended is how an answer shows that a session has ended.
type Ended struct {
	Status       []string `yaml:"status" doc:"Statuses, such as \"419\" or \"440\"."`
	RedirectTo   string   `yaml:"redirect_to" doc:"A redirect to such a path."`
	BodyContains string   `yaml:"body_contains" doc:"Such a text in the body."`
}

// MergeFields are the places of a connector's request where
// {!$Credential.Username} and its like are filled in, after it has left the
// connector.
type MergeFields struct {
	Headers bool `yaml:"headers" doc:"true: in the values of headers."`
	Body    bool `yaml:"body" doc:"true: in the body, escaped for its content type."`
}
