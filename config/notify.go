package config

import (
	"net"
	"net/mail"
	"net/url"
	"reflect"
	"strconv"
	"time"
)

// Notices says when people are told of what lasts.
type Notices struct {
	TargetDown time.Duration `yaml:"target_down" default:"10m" doc:"A target that has been left alone because of its failures for so long."`
	Waiting    time.Duration `yaml:"waiting" default:"24h" doc:"Requests that have waited for approval, and runs that have waited for their review, for so long."`
}

// Channel is one way to people. Exactly one of Webhook and Mail is set.
type Channel struct {
	Name    string   `yaml:"name" required:"true" doc:"Lower-case letters, digits and hyphens."`
	Kinds   []string `yaml:"kinds" enum:"connector,threshold,credential,target,approval,review" doc:"What is told: a connector in quarantine, a threshold that was passed, a credential to authorize, a target that does not answer, requests that wait for approval, runs that wait for their review; without any: all."`
	Webhook *Webhook `yaml:"webhook" doc:"A POST of JSON for each notice, and one when it is over, signed as the Standard Webhooks say."`
	Mail    *Mail    `yaml:"mail" doc:"A mail in plain text of what has come up."`
}

// Webhook is a URL of one's own.
type Webhook struct {
	URL    string `yaml:"url" required:"true" doc:"https:// URL, or http://, which sends in the clear. It may be of the own network. Redirects are not followed."`
	Secret Secret `yaml:"secret" doc:"What signs: whsec_ and base64, or any other text."`
}

// Mail is a server that takes mail, and who gets it.
type Mail struct {
	SMTP     string        `yaml:"smtp" required:"true" doc:"host:port of the server: 587 for starttls, 465 for implicit."`
	TLS      string        `yaml:"tls" default:"starttls" enum:"starttls,implicit,none" doc:"none sends in the clear, and never a password."`
	CA       string        `yaml:"ca" path:"file" doc:"PEM file with the authorities to trust, in place of the system's."`
	Username string        `yaml:"username" doc:"User name there."`
	Password Secret        `yaml:"password" doc:"Password there."`
	From     string        `yaml:"from" required:"true" doc:"Sender: provost@example.com, or Provost <provost@example.com>."`
	To       []string      `yaml:"to" required:"true" doc:"Who get it."`
	Gather   time.Duration `yaml:"gather" default:"1m" doc:"What comes up within so long is one mail."`
}

func checkChannel(k *checker, c *Channel, key string) {
	if c.Name != "" && !slug.MatchString(c.Name) {
		k.fail(key+".name", "%q is no name; lower-case letters, digits and hyphens, a letter first", short(c.Name))
	}
	if (c.Webhook == nil) == (c.Mail == nil) {
		k.fail(key, "must have one of webhook and mail")
	}
	k.secrets(key, reflect.ValueOf(c).Elem())
	if w := c.Webhook; w != nil {
		// Its path or query may be what lets one in: it is not repeated.
		u, err := url.Parse(w.URL)
		switch {
		case w.URL == "": // reported as missing
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
			k.fail(key+".webhook.url", "is no URL; write https://host/path")
		case u.User != nil:
			k.fail(key+".webhook.url", "must not hold a name or password; the receiver tells us by the signature")
		case u.Fragment != "":
			k.fail(key+".webhook.url", "must not have a fragment")
		}
		if !w.Secret.IsSet() {
			k.fail(key+".webhook.secret", "is missing; the receiver tells by it that we sent it")
		}
	}
	m := c.Mail
	if m == nil {
		return
	}
	server, port, err := net.SplitHostPort(m.SMTP)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if m.SMTP != "" && (err != nil || server == "" || port == "0") {
		k.fail(key+".mail.smtp", "%q is no host:port, such as mail.example.com:587", short(m.SMTP))
	}
	if _, err := mail.ParseAddress(m.From); m.From != "" && err != nil {
		k.fail(key+".mail.from", "%q is no address, such as provost@example.com", short(m.From))
	}
	for i, to := range m.To {
		if _, err := mail.ParseAddress(to); err != nil {
			k.fail(key+".mail.to["+strconv.Itoa(i)+"]", "%q is no address, such as admin@example.com", short(to))
		}
	}
	if (m.Username == "") == m.Password.IsSet() {
		k.fail(key+".mail", "has a username or a password without the other")
	}
	if m.Username != "" && m.TLS == "none" {
		k.fail(key+".mail.tls", "none sends in the clear, and never a password; write starttls or implicit")
	}
}
