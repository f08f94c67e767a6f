// Package config is what an operator tells Provost: the configuration as
// types, read from YAML, TOML or JSON and from the environment, checked as a
// whole, and watched. Every mistake is reported at once with its file, line and
// key. It knows what may be written there and nothing of what is done with it.
package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:generate go run ../cmd/configgen

// Config is a whole configuration. A value that [Load] returned has every
// default filled in and every path absolute; it is not to be changed.
//
// The tags are the one place where names, defaults, allowed words and what must
// be given are stated; reading and the JSON Schema both go by them.
type Config struct {
	Database    Database     `yaml:"database" doc:"Where users, requests and accounts are kept."`
	DataDir     string       `yaml:"data_dir" default:"data" path:"dir" doc:"Directory for the SQLite database, the socket and the cache of compiled connectors. A relative path begins at the configuration file."`
	Listen      Listen       `yaml:"listen" doc:"Where the daemon listens."`
	Metrics     Metrics      `yaml:"metrics" doc:"Who may scrape the metrics."`
	Access      Access       `yaml:"access" doc:"Who may do what, and how people sign in."`
	Log         Log          `yaml:"log" doc:"What is logged."`
	Secrets     Secrets      `yaml:"secrets" doc:"The identity that opens sealed secrets."`
	Users       Users        `yaml:"users" doc:"The organisation's people."`
	Workers     int          `yaml:"workers" default:"8" doc:"How many requests are worked on at once."`
	Trust       Trust        `yaml:"trust" doc:"Which connectors are taken."`
	Signers     []Signer     `yaml:"signers" doc:"Whose signatures on connectors count."`
	Plugins     []Plugin     `yaml:"plugins" doc:"Connectors."`
	Proxy       *Proxy       `yaml:"proxy" doc:"Proxy that the requests of all credentials go through that have none of their own."`
	Credentials []Credential `yaml:"credentials" doc:"Named credentials: an endpoint and how to sign in there."`
	Apps        []App        `yaml:"apps" doc:"Connected apps that people get accounts in."`
	Groups      []Group      `yaml:"groups" doc:"Groups of people who approve."`
	Tables      []Table      `yaml:"tables" doc:"Tables that mappings look up values in: lookup(\"costCenters\", user.Department)."`
	Trace       Trace        `yaml:"trace" doc:"What is kept of the HTTP requests that connectors make."`
	Retention   Retention    `yaml:"retention" doc:"How long is kept what has ended."`
	Notify      []Channel    `yaml:"notify" doc:"Ways to tell people what they must do or know."`
	Notices     Notices      `yaml:"notices" doc:"When people are told."`
	Tracing     Tracing      `yaml:"tracing" doc:"Where traces of OpenTelemetry go; without an endpoint there are none."`

	// File is the file that was read.
	File string `yaml:"-"`

	at     map[string]position
	digest string
}

// Digest names the text of all files: two configurations of one digest say the
// same.
func (c *Config) Digest() string { return c.digest }

// Database says where the records are.
type Database struct {
	URL    string `yaml:"url" doc:"sqlite:///path or postgres://user@host/name. Without it: provost.db in data_dir."`
	Copies int    `yaml:"copies" default:"3" doc:"How many copies of a SQLite database are kept beside it that were made before an upgrade changed its schema; 0 makes none."`
}

// Listen says where the daemon listens.
type Listen struct {
	PublicURL string   `yaml:"public_url" doc:"URL that browsers reach the API at, such as https://provost.example.com; without it http:// and api. OAuth clients are registered with it and /oauth/callback."`
	Proxies   []string `yaml:"proxies" doc:"Addresses, or networks such as 10.0.0.0/8, of the proxies that stand before Provost: what they say in X-Forwarded-For is who asks, for what slows down who guesses passwords."`
	Rate      Rate     `yaml:"rate" default:"50/s" doc:"Calls of the API that one person or token may make, on each machine; what is beyond is answered with 429. The socket is not bound."`
	Burst     int      `yaml:"burst" default:"200" doc:"So many of them at once."`
	API       string   `yaml:"api" default:"127.0.0.1:8080" doc:"host:port of the API and the console."`
	Metrics   string   `yaml:"metrics" default:"127.0.0.1:9464" doc:"host:port of /metrics."`
	Socket    string   `yaml:"socket" path:"file" doc:"Unix socket that the commands use. Without it: provost.sock in data_dir."`
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level" default:"info" enum:"debug,info,warn,error" doc:"Least level that is logged."`
	Format string `yaml:"format" default:"auto" enum:"auto,text,json" doc:"auto is text on a terminal and JSON elsewhere."`

	PluginLines Rate           `yaml:"plugin_lines" default:"100/s" doc:"Most lines that each connector may log; what is beyond is dropped, and counted."`
	Connectors  []ConnectorLog `yaml:"connectors" doc:"Levels of single connectors: of what they log, and of what is logged of them."`
}

// ConnectorLog is the level of one connector.
type ConnectorLog struct {
	Name  string `yaml:"name" required:"true" doc:"Name of the connector in plugins."`
	Level string `yaml:"level" required:"true" enum:"debug,info,warn,error" doc:"Least level that is logged."`
}

// Secrets says where the age identities are that open sealed secrets, a line
// each: the first seals. At most one of the four is set.
type Secrets struct {
	IdentityFile    string   `yaml:"identity_file" path:"file" doc:"File with an age X25519 identity."`
	IdentityEnv     string   `yaml:"identity_env" doc:"Environment variable with an age X25519 identity."`
	IdentityCommand []string `yaml:"identity_command" doc:"Program and arguments that print an age X25519 identity."`
	IdentitySystemd string   `yaml:"identity_systemd" doc:"Name of a systemd credential (LoadCredential=) with an age X25519 identity. Commands outside of the service look for it at /run/credentials/provost.service and /etc/credstore."`
}

// IsSet tells whether there is an identity.
func (s Secrets) IsSet() bool {
	return s.IdentityFile != "" || s.IdentityEnv != "" || len(s.IdentityCommand) > 0 || s.IdentitySystemd != ""
}

// Users says what is known of people beyond the model's fields.
type Users struct {
	Attributes []string  `yaml:"attributes" doc:"Names of the organisation's own attributes, such as costCenter."`
	Disable    Threshold `yaml:"disable_threshold" default:"10%" doc:"An import that would disable more people than so many, or such a share of them, disables nobody and waits for a person."`
}

// Plugin is a connector: where it comes from and what it may do.
type Plugin struct {
	Name     string         `yaml:"name" required:"true" doc:"Lower-case letters, digits and hyphens."`
	Source   string         `yaml:"source" required:"true" doc:"builtin:scim, builtin:mock, the path of a .wasm file, of a folder with one connector or of a manifest (.json) in Extism's format, https://host/acme.wasm, oci://registry/repository:tag@sha256:…, or uploaded:DIGEST for one that was uploaded; a relative path begins at the configuration file."`
	Digest   string         `yaml:"digest" doc:"sha256 of the .wasm file, in hex; another is refused. One that is fetched and pinned by it, or by @sha256:… of oci://, needs no network once it is kept."`
	Signers  []string       `yaml:"signers" doc:"Names of signers; the signature of one of them is needed. Without any: of any of signers, as trust says."`
	Unsigned bool           `yaml:"unsigned" doc:"true: this connector needs no signature, whatever trust says."`
	Settings map[string]any `yaml:"settings" doc:"The connector's own settings; provost plugin inspect shows them."`
	Limits   Limits         `yaml:"limits" doc:"What one call may use; what is left out has the sandbox's default."`
	Hosts    []string       `yaml:"hosts" doc:"What the connector may call besides its credential's endpoint, without a sign-in: files.example.com, *.example.com:8443, GET,HEAD files.example.com, http://127.0.0.1:9000. It is https unless it says otherwise."`

	Grants       *Grants    `yaml:"grants" doc:"What the connector may do; without it, what its first build says of itself, and later ones wait for a grant if they want more."`
	HealthCheck  bool       `yaml:"health_check" doc:"true: another build must connect (test_connection) with the credential of each of its apps before it takes over."`
	Incompatible bool       `yaml:"incompatible" doc:"true: another build may take over although it is another connector, or can't do any more what this one does."`
	Rollout      Rollout    `yaml:"rollout" doc:"How another build takes over."`
	Quarantine   Quarantine `yaml:"quarantine" doc:"When the connector is taken out."`

	// Path is the absolute path of the file or folder, "" for what is built in or
	// fetched.
	Path string `yaml:"-"`
}

// Limits bound one call of a connector. 0 means the sandbox's default.
type Limits struct {
	Memory       Size          `yaml:"memory" doc:"Memory."`
	Time         time.Duration `yaml:"time" doc:"Time, that of HTTP not counted."`
	HTTPCalls    int           `yaml:"http_calls" doc:"HTTP requests."`
	HTTPRequest  Size          `yaml:"http_request" doc:"Bytes of all HTTP requests together."`
	HTTPResponse Size          `yaml:"http_response" doc:"Bytes of all HTTP responses together."`
	Input        Size          `yaml:"input" doc:"Input document."`
	Output       Size          `yaml:"output" doc:"Output document."`
	Log          Size          `yaml:"log" doc:"Log text that is kept."`
	LogLines     int           `yaml:"log_lines" doc:"Log lines that are kept."`
	Vars         Size          `yaml:"vars" doc:"Variables."`
	Module       Size          `yaml:"module" doc:"The module's own file."`

	MaxFuel       int           `yaml:"max_fuel" doc:"Work, in instructions; without it, what time allows."`
	TableEntries  int           `yaml:"table_entries" doc:"Entries of each table."`
	Functions     int           `yaml:"functions" doc:"Functions of the module."`
	Function      Size          `yaml:"function" doc:"Bytes of one function."`
	CompileTime   time.Duration `yaml:"compile_time" doc:"Time to compile the module."`
	CompileMemory Size          `yaml:"compile_memory" doc:"Memory of the process that compiles the module."`
	Instances     int           `yaml:"instances" doc:"Calls at once."`
	IdleInstances int           `yaml:"idle_instances" doc:"Instances that are kept while nobody calls."`
	Wait          time.Duration `yaml:"wait" doc:"Time that a call waits for an instance."`
}

// Credential is a named credential. Exactly one way to sign in is set.
type Credential struct {
	Name                string           `yaml:"name" required:"true" doc:"Developer name: letters, digits and single underscores; begins with a letter."`
	Endpoint            string           `yaml:"endpoint" required:"true" doc:"URL that every path of a callout is below."`
	Identity            string           `yaml:"identity" default:"named_principal" enum:"named_principal,per_user" doc:"named_principal: one sign-in for all; per_user: each request with an authorization of the person that it is for."`
	Anonymous           bool             `yaml:"anonymous" doc:"true: no sign-in."`
	MutualTLS           bool             `yaml:"mutual_tls" doc:"true: nothing but the client certificate of tls."`
	Basic               *Basic           `yaml:"basic" doc:"HTTP Basic."`
	Digest              *Basic           `yaml:"digest" doc:"HTTP Digest."`
	Bearer              *Bearer          `yaml:"bearer" doc:"A fixed token, in the Authorization header unless it says otherwise."`
	APIKey              *APIKey          `yaml:"api_key" doc:"A key in a header of its own, or in the query."`
	OAuth2              *OAuth2          `yaml:"oauth2" doc:"OAuth 2.0."`
	JWT                 *JWT             `yaml:"jwt" doc:"A token that is signed here for each request."`
	AWS                 *AWS             `yaml:"aws" doc:"AWS Signature Version 4."`
	HMAC                *HMAC            `yaml:"hmac" doc:"A keyed digest of each request."`
	Session             *Session         `yaml:"session" doc:"A request of its own that begins a session, for apps that have nothing else."`
	Headers             []Header         `yaml:"headers" doc:"Headers of your own, beside any sign-in or as the only one."`
	AuthorizationHeader bool             `yaml:"authorization_header" default:"true" doc:"false: no Authorization header is made; the connector's requests have merge fields."`
	MergeFields         MergeFields      `yaml:"merge_fields" doc:"Where {!$Credential.Username} and its like are filled in."`
	TLS                 TLS              `yaml:"tls" doc:"Whom to trust and who we are."`
	Methods             []string         `yaml:"methods" doc:"HTTP methods that may be sent, such as [GET] for an app that is only collected from; without it all."`
	Networks            []string         `yaml:"networks" doc:"Networks besides the public Internet in which the endpoint may be: loopback, private, or prefixes such as 10.1.0.0/16. An endpoint that is itself an address, or localhost, needs none."`
	Propagate           string           `yaml:"propagate" enum:"always,never" doc:"Whether traced requests carry traceparent; without it what tracing.propagate says."`
	Probe               string           `yaml:"probe" doc:"Path that provost credential test asks for; without it the endpoint's own."`
	Timeout             time.Duration    `yaml:"timeout" default:"30s" doc:"Time for one HTTP request."`
	Timeouts            Timeouts         `yaml:"timeouts" doc:"Time for each phase of it."`
	Proxy               *Proxy           `yaml:"proxy" doc:"What requests go through, in place of the proxy for all."`
	Limits              CredentialLimits `yaml:"limits" doc:"Bounds on what the target may send."`
}

// Basic is a sign-in with a name and a password. Where each person has his own,
// there is neither.
type Basic struct {
	Username string `yaml:"username" doc:"User name."`
	Password Secret `yaml:"password" doc:"Password."`
}

// Bearer is a sign-in with a fixed token.
type Bearer struct {
	Token Secret `yaml:"token" doc:"Token."`
	Send  Place  `yaml:"send" doc:"Where it stands in a request."`
}

// APIKey is a sign-in with a key.
type APIKey struct {
	Header string `yaml:"header" doc:"Name of the header; without it and without query X-API-Key."`
	Prefix string `yaml:"prefix" doc:"What stands before the key in the header."`
	Query  string `yaml:"query" doc:"Name of a parameter of the query, in place of a header."`
	Value  Secret `yaml:"value" doc:"The key."`
}

// OAuth2 is a sign-in with tokens that are fetched as needed.
type OAuth2 struct {
	Grant               string            `yaml:"grant" default:"client_credentials" enum:"client_credentials,authorization_code,device_code,jwt_bearer,token_exchange,password" doc:"Grant type. authorization_code and device_code: a person authorizes once (provost credential authorize)."`
	Issuer              string            `yaml:"issuer" doc:"Issuer that says its endpoints at /.well-known/openid-configuration; what is given here goes before them."`
	AuthorizationURL    string            `yaml:"authorization_url" doc:"URL of the authorization endpoint."`
	TokenURL            string            `yaml:"token_url" doc:"URL of the token endpoint."`
	DeviceURL           string            `yaml:"device_url" doc:"URL of the device authorization endpoint."`
	RevocationURL       string            `yaml:"revocation_url" doc:"URL of the revocation endpoint."`
	ClientID            string            `yaml:"client_id" doc:"Client id."`
	ClientSecret        Secret            `yaml:"client_secret" doc:"Client secret."`
	AuthStyle           string            `yaml:"auth_style" default:"auto" enum:"auto,header,params,private_key_jwt,tls,none" doc:"How the client shows who it is: HTTP Basic, form parameters, an assertion that it signs with key, the client certificate of tls, or not; auto tries the first, then the second."`
	Key                 *Key              `yaml:"key" doc:"Private key of auth_style private_key_jwt and of grant jwt_bearer."`
	Assertion           Claims            `yaml:"assertion" doc:"What the assertion of grant jwt_bearer says."`
	Username            string            `yaml:"username" doc:"With grant password."`
	Password            Secret            `yaml:"password" doc:"With grant password."`
	SubjectToken        Secret            `yaml:"subject_token" doc:"With grant token_exchange: the token that is exchanged."`
	SubjectTokenType    string            `yaml:"subject_token_type" doc:"Its type; without it urn:ietf:params:oauth:token-type:access_token."`
	ActorToken          Secret            `yaml:"actor_token" doc:"With grant token_exchange: who acts."`
	ActorTokenType      string            `yaml:"actor_token_type" doc:"Its type."`
	RequestedTokenType  string            `yaml:"requested_token_type" doc:"With grant token_exchange: the type that is wanted."`
	Scopes              []string          `yaml:"scopes" doc:"Scopes to ask for."`
	Audience            string            `yaml:"audience" doc:"Audience to ask for."`
	Resource            string            `yaml:"resource" doc:"Resource to ask for (RFC 8707)."`
	Params              map[string]string `yaml:"params" doc:"Further parameters of the token request."`
	AuthorizationParams map[string]string `yaml:"authorization_params" doc:"Further parameters of the authorization request, such as prompt or access_type."`
	Headers             map[string]string `yaml:"headers" doc:"Further headers of the token request."`
	SecretParams        []Header          `yaml:"secret_params" doc:"Further parameters of the token request that nobody may see."`
	SecretHeaders       []Header          `yaml:"secret_headers" doc:"Further headers of the token request that nobody may see."`
	TokenField          string            `yaml:"token_field" doc:"Where the token stands in the answer, such as data.token; without it access_token."`
	ExpiresField        string            `yaml:"expires_field" doc:"Where its life or its end stands; without it expires_in."`
	Lifetime            time.Duration     `yaml:"lifetime" doc:"Life of a token whose answer does not say."`
	Send                Place             `yaml:"send" doc:"Where the token stands in a request."`
	Carry               []Carry           `yaml:"carry" doc:"Values of the token's answer that later requests carry, such as a tenant."`
}

// Secret says where a secret is; exactly one of Env, File, Sealed, Value,
// Command, Vault and Systemd is set.
type Secret struct {
	Env      string        `yaml:"env" machine:"true" doc:"Environment variable that has it."`
	File     string        `yaml:"file" path:"file" doc:"File that has it; it is read again when it changes."`
	Sealed   string        `yaml:"sealed" secret:"true" doc:"The secret, sealed with the identity of secrets."`
	Value    string        `yaml:"value" secret:"true" doc:"The secret itself; for trials only."`
	Command  []string      `yaml:"command" machine:"true" doc:"Program and arguments that print it, within 10 seconds; no shell is asked."`
	Vault    *Vault        `yaml:"vault" doc:"A server that speaks as HashiCorp's Vault does."`
	Systemd  string        `yaml:"systemd" machine:"true" doc:"Name of a systemd credential (LoadCredential=)."`
	Cache    time.Duration `yaml:"cache" doc:"How long what a command or a vault gave is used; without it what the vault says, or 5m."`
	Previous *Secret       `yaml:"previous" doc:"The secret before this one, while the target takes both; it is tried when the newer is refused."`
}

// Vault is a secret of a server that speaks as HashiCorp's Vault does.
type Vault struct {
	URL       string `yaml:"url" required:"true" doc:"URL of the secret, such as https://vault.example.com/v1/secret/data/acme."`
	Field     string `yaml:"field" default:"value" doc:"The field that has it."`
	TokenEnv  string `yaml:"token_env" machine:"true" doc:"Environment variable with the server's token."`
	TokenFile string `yaml:"token_file" path:"file" doc:"File with the server's token."`
	Namespace string `yaml:"namespace" doc:"Namespace."`
	CAFile    string `yaml:"ca" path:"file" doc:"PEM file with the authorities to trust, in place of the system's."`
}

// Format shows nothing of it.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "***") } // a fmt.State takes every write

// IsSet tells whether it says where a secret is.
func (s Secret) IsSet() bool { return len(s.places()) > 0 }

func (s Secret) places() []string {
	var list []string
	for _, one := range []struct {
		name string
		is   bool
	}{{"env", s.Env != ""}, {"file", s.File != ""}, {"sealed", s.Sealed != ""}, {"value", s.Value != ""}, {"command", len(s.Command) > 0},
		{"vault", s.Vault != nil}, {"systemd", s.Systemd != ""}} {
		if one.is {
			list = append(list, one.name)
		}
	}
	return list
}

// TLS adds to how a target is verified and how we show who we are.
type TLS struct {
	CA   string `yaml:"ca" path:"file" doc:"PEM file with the authorities to trust, in place of the system's."`
	Cert string `yaml:"cert" path:"file" doc:"PEM file with a client certificate."`
	Key  string `yaml:"key" path:"file" doc:"PEM file with its key."`
	// Identity is nil where there is none.
	Identity *TLSIdentity `yaml:"identity" doc:"A client certificate and its key in one secret, in place of cert and key."`
	Pins     []string     `yaml:"pins" doc:"Keys of which the target's certificates must have one, besides being trusted: sha256/BASE64 of a SubjectPublicKeyInfo."`
}

// Timeouts bound the phases of one request.
type Timeouts struct {
	Connect time.Duration `yaml:"connect" default:"10s" doc:"Until there is a connection."`
	TLS     time.Duration `yaml:"tls" default:"10s" doc:"Until it is secured."`
	Headers time.Duration `yaml:"headers" doc:"Until an answer begins; without it what timeout leaves."`
	Idle    time.Duration `yaml:"idle" default:"90s" doc:"How long a connection is kept that nobody uses."`
}

// Proxy is what requests go through. It resolves the names of targets itself.
type Proxy struct {
	URL      string   `yaml:"url" required:"true" doc:"http://, https:// or socks5://host:port. Proxies of the environment are not used."`
	Username string   `yaml:"username" doc:"User name there."`
	Password Secret   `yaml:"password" doc:"Password there."`
	Except   []string `yaml:"except" doc:"Hosts that are called without it: example.com, *.example.com."`
}

// CredentialLimits bound what the target may send, and what it is sent.
type CredentialLimits struct {
	MaxResponse Size          `yaml:"max_response" default:"16MiB" doc:"Largest response body."`
	Rate        Rate          `yaml:"rate" doc:"Most HTTP requests, such as 20/s or 600/m, of all machines together; without it as many as there are. It is kept by turns, so that there are no bursts."`
	Concurrency int           `yaml:"concurrency" doc:"Most requests at once, of all machines together."`
	RetryReads  bool          `yaml:"retry_reads" default:"true" doc:"A GET or HEAD that got no answer, or 502, 503 or 504, is sent again, twice at most and within a budget; false: never."`
	Failures    int           `yaml:"failures" default:"5" doc:"So many failures of the target in a row, and it is left alone for a while: requests wait, and none fails for it."`
	Rest        time.Duration `yaml:"rest" default:"30s" doc:"How long the target is then left alone before one attempt asks whether it is back; doubled while it is not, up to 10 minutes."`
}

// AppLimits bound what is asked of one app.
type AppLimits struct {
	Rate        Rate `yaml:"rate" doc:"As the credential's, for this app alone."`
	Concurrency int  `yaml:"concurrency" doc:"As the credential's, for this app alone."`
}

// Rate is so many in a time, written 20/s, 600/m or 5000/h.
type Rate string

// PerSecond is the rate; 0 for none.
func (r Rate) PerSecond() float64 {
	n, unit, _ := strings.Cut(string(r), "/")
	v, err := strconv.ParseFloat(n, 64)
	seconds := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	if err != nil || seconds == 0 || !(v > 0 && v <= 1e6) {
		return 0
	}
	return v / seconds
}

// Threshold is a number of accounts or a share of them, written 20 or 5%.
type Threshold string

// Parse returns the one or the other.
func (t Threshold) Parse() (count int64, percent float64, ok bool) {
	if text, is := strings.CutSuffix(string(t), "%"); is {
		v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		return 0, v, err == nil && v >= 0 && v <= 100
	}
	v, err := strconv.ParseInt(string(t), 10, 64)
	return v, 0, err == nil && v >= 0
}

// Group is people who may approve.
type Group struct {
	Name    string   `yaml:"name" required:"true" doc:"Lower-case letters, digits and hyphens."`
	Members []string `yaml:"members" required:"true" doc:"Usernames."`
}

// Table is what mappings look up: a value for each key.
type Table struct {
	Name   string       `yaml:"name" required:"true" doc:"Letters, digits and underscores."`
	Values []TableValue `yaml:"values" required:"true" doc:"The table's rows."`
}

// TableValue is one row of a table.
type TableValue struct {
	Key   string `yaml:"key" required:"true" doc:"What is looked up."`
	Value string `yaml:"value" doc:"What is found; without it, an empty text."`
}

// Trace says what is kept of HTTP requests besides what they were and how long
// they took.
type Trace struct {
	Mask []string `yaml:"mask" doc:"Names of members and headers whose values are masked, as secrets are, where a person asks for headers and bodies: phone*, birthDate."`
}

// Retention says how long is kept what has ended.
type Retention struct {
	Requests time.Duration `yaml:"requests" default:"365d" doc:"Requests that have ended, with their logs."`
	Traces   time.Duration `yaml:"traces" default:"90d" doc:"What each attempt sent and cost; the log's lines stay with their request."`
	Runs     time.Duration `yaml:"runs" default:"90d" doc:"Runs of reconciliation that have ended, plans, and notices that are over."`
	Audit    time.Duration `yaml:"audit" doc:"Entries of the audit trail; without it all are kept. What is kept can still be verified."`
}

// AppReconcile says when and how an app is reconciled, and what comes of it.
type AppReconcile struct {
	Schedule   string        `yaml:"schedule" doc:"Cron expression, such as 0 2 * * *, in UTC or, as CRON_TZ=Europe/Berlin 0 2 * * *, in a zone; without it a person starts each run."`
	Jitter     time.Duration `yaml:"jitter" doc:"A run begins up to so much later than the schedule says, so that not all begin at once; never later than the next occurrence."`
	Delta      bool          `yaml:"delta" doc:"true: scheduled runs ask only for what has changed, where the connector can."`
	FullEvery  int           `yaml:"full_every" default:"7" doc:"With delta: every so many runs is a full one."`
	Commit     bool          `yaml:"commit" doc:"true: scheduled runs are committed without a review, where no threshold is passed."`
	Process    bool          `yaml:"process" doc:"true: after the commit, what follows for each account is done: missing, drift, orphaned, gone."`
	Missing    string        `yaml:"missing" default:"create" enum:"nothing,create" doc:"For people who should have an account and have none."`
	Drift      string        `yaml:"drift" default:"update" enum:"nothing,update,accept" doc:"For accounts with other values than the mapping wants: update corrects the target, accept takes the target's values for ours by import_mapping."`
	Orphaned   string        `yaml:"orphaned" default:"nothing" enum:"nothing,deactivate,delete" doc:"For accounts that belong to nobody."`
	Unassigned string        `yaml:"unassigned" default:"nothing" enum:"nothing,deactivate,delete" doc:"For active accounts of people who should have none."`
	Thresholds Thresholds    `yaml:"thresholds" doc:"When a run stops before the first change and waits for a person."`
}

// Thresholds stop a batch of changes before the first.
type Thresholds struct {
	Deactivate Threshold `yaml:"deactivate" default:"10%" doc:"More deactivations (or freezes) than so many, or than such a share of the app's accounts."`
	Delete     Threshold `yaml:"delete" default:"5%" doc:"More deletions."`
	Found      Threshold `yaml:"found" default:"50%" doc:"A run that finds less than such a share of what the last one found."`
	Smallest   int       `yaml:"smallest" default:"10" doc:"A share stops no batch of so few changes or fewer."`
}

// App says how one app is provisioned.
type App struct {
	Name               string         `yaml:"name" required:"true" doc:"Lower-case letters, digits and hyphens."`
	Label              string         `yaml:"label" doc:"What people call it. Without it: the name."`
	Plugin             string         `yaml:"plugin" required:"true" doc:"Name of the connector."`
	Credential         string         `yaml:"credential" doc:"Name of the named credential."`
	Enabled            bool           `yaml:"enabled" default:"true" doc:"false: no requests are made or worked on."`
	Operations         []string       `yaml:"operations" default:"Create,Update,EnableAndDisable" enum:"Create,Update,EnableAndDisable,SuspendAndRestore,Delete" doc:"What may be done in the app."`
	Profiles           []string       `yaml:"profiles" doc:"Profiles that grant the app."`
	Scope              string         `yaml:"scope" doc:"Expression over user; whom it is true for gets the app."`
	Mapping            []string       `yaml:"mapping" doc:"Rules such as userName = user.Username, or userName = lower(user.Username) [on create]. Without any: the connector's default."`
	ImportMapping      []string       `yaml:"import_mapping" doc:"Rules that make fields of the user from an account, such as Title = account.attributes.title, for reconcile.drift: accept."`
	Link               []string       `yaml:"link" doc:"Rules that find the user of an account, such as account.ExternalUsername = user.Username."`
	OnUpdateAttributes []string       `yaml:"on_update_attributes" doc:"Fields of the user whose change makes an Update; without any: every field that is mapped."`
	ReconFilter        string         `yaml:"recon_filter" doc:"Which accounts are collected, in the target's own language."`
	Parameters         map[string]any `yaml:"parameters" doc:"Values for the connector's inputs."`
	MaxAttempts        int            `yaml:"max_attempts" default:"5" doc:"How often one request is tried."`
	Approval           string         `yaml:"approval" default:"none" enum:"none,manager,group,expression" doc:"Who approves a request before it is worked on."`
	ApprovalGroup      string         `yaml:"approval_group" doc:"With approval group: the group, any of whose members approves."`
	ApprovalRule       string         `yaml:"approval_rule" doc:"With approval expression: over user and request; false or nothing: no approval, true or \"manager\": the manager, \"group NAME\": a group, else the username of who approves."`
	ApprovalOperations []string       `yaml:"approval_operations" enum:"Create,Read,Update,Deactivate,Activate,Freeze,Unfreeze,Reactivate,Delete" doc:"Operations that need it; without any: all."`
	ApprovalExpires    time.Duration  `yaml:"approval_expires" default:"168h" doc:"A request that nobody has approved until then is denied."`
	Mode               string         `yaml:"mode" default:"live" enum:"live,preview" doc:"preview: the app is collected, analyzed and mapped, and shows what would be done; nothing changes in the target."`
	Preview            []string       `yaml:"preview" enum:"Create,Update,Deactivate,Activate,Freeze,Unfreeze,Reactivate,Delete" doc:"Operations that are in preview while the others are live."`
	PermissionSets     []string       `yaml:"permission_sets" doc:"Permission sets that grant the app."`
	OnUnassign         string         `yaml:"on_unassign" default:"deactivate" enum:"nothing,deactivate,freeze,delete" doc:"When a person no longer has the app."`
	OnDisable          string         `yaml:"on_disable" default:"deactivate" enum:"nothing,deactivate,freeze,delete" doc:"When a user is disabled."`
	OnDelete           string         `yaml:"on_delete" default:"deactivate" enum:"nothing,deactivate,freeze,delete" doc:"When a user is deleted."`
	DeleteAfter        time.Duration  `yaml:"delete_after" doc:"A delete that follows from these waits so long (720h, 30d); the account is deactivated meanwhile."`
	Fallback           []string       `yaml:"fallback" doc:"What is done for an operation that the connector lacks or the app does not allow: Freeze = Deactivate."`
	Limits             AppLimits      `yaml:"limits" doc:"Bounds on what the target is asked."`
	Reconcile          AppReconcile   `yaml:"reconcile" doc:"When and how the app is reconciled."`
}

// Size is a number of bytes, written 64MiB, 500KB or 4096.
type Size int64

// Files returns the paths of connectors that the configuration names, absolute:
// files, and folders.
func (c *Config) Files() []string {
	var files []string
	for _, p := range c.Plugins {
		if p.Path != "" {
			files = append(files, p.Path)
		}
	}
	return files
}

// OwnIdentity is the file in data_dir with an identity that the daemon has made
// for itself: where there is one, and the configuration names none, it seals and
// opens what is stored.
const OwnIdentity = "identity.age"

// fill sets what follows from other values and makes paths absolute.
func (c *Config) fill() {
	if c.Database.URL == "" {
		c.Database.URL = "sqlite://" + filepath.ToSlash(filepath.Join(c.DataDir, "provost.db"))
	}
	if c.Listen.Socket == "" {
		c.Listen.Socket = filepath.Join(c.DataDir, "provost.sock")
	}
	if identity := filepath.Join(c.DataDir, OwnIdentity); !c.Secrets.IsSet() {
		if _, err := os.Stat(identity); err == nil {
			c.Secrets.IdentityFile = identity
		}
	}
	for i := range c.Credentials {
		if a := c.Credentials[i].APIKey; a != nil && a.Header == "" && a.Query == "" {
			a.Header = "X-API-Key"
		}
	}
	if c.Listen.PublicURL == "" && c.Listen.API != "" {
		c.Listen.PublicURL = "http://" + c.Listen.API
	}
	for i := range c.Apps {
		if c.Apps[i].Label == "" {
			c.Apps[i].Label = c.Apps[i].Name
		}
	}
}
