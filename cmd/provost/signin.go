package main

import (
	"maps"
	"slices"
	"strconv"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
)

// signInOf is how a configured credential signs in.
func signInOf(c config.Credential) signin.Config {
	s := signin.Config{Name: c.Name, Protocol: signin.Anonymous, PerUser: c.Identity == "per_user", WithoutHeader: !c.AuthorizationHeader, Timeout: c.Timeout}
	for _, h := range c.Headers {
		s.Headers = append(s.Headers, signin.Header{Name: h.Name, Value: h.Value, Secret: secretAt("headers."+h.Name+".secret", h.Secret)})
	}
	if len(c.Headers) > 0 {
		s.Protocol = signin.Headers
	}
	switch {
	case c.MutualTLS:
		s.Protocol = signin.MutualTLS
	case c.Basic != nil:
		s.Protocol, s.Username, s.Secret = signin.Basic, c.Basic.Username, secretAt("basic.password", c.Basic.Password)
	case c.Digest != nil:
		s.Protocol, s.Username, s.Secret = signin.Digest, c.Digest.Username, secretAt("digest.password", c.Digest.Password)
	case c.Bearer != nil:
		s.Protocol, s.Send, s.Secret = signin.Bearer, placeOf(c.Bearer.Send), secretAt("bearer.token", c.Bearer.Token)
	case c.APIKey != nil:
		s.Protocol, s.Secret = signin.APIKey, secretAt("api_key.value", c.APIKey.Value)
		s.Send = signin.Place{Header: c.APIKey.Header, Prefix: c.APIKey.Prefix, Query: c.APIKey.Query}
	case c.JWT != nil:
		s.Protocol, s.Send, s.Assertion = signin.JWT, placeOf(c.JWT.Send), assertionOf(c.JWT.Claims)
		s.Key = keyOf("jwt.key", c.JWT.Key)
	case c.HMAC != nil:
		h := c.HMAC
		s.Protocol, s.Secret = signin.HMAC, secretAt("hmac.key", h.Key)
		s.HMAC = signin.HMACConfig{Header: h.Header, Prefix: h.Prefix, KeyID: h.KeyID, Algorithm: h.Algorithm, Encoding: h.Encoding, Template: h.Template, DateHeader: h.DateHeader}
	case c.AWS != nil:
		a := c.AWS
		s.Protocol, s.Secret = signin.AWS, secretAt("aws.secret_access_key", a.SecretAccessKey)
		s.SessionToken = secretAt("aws.session_token", a.SessionToken)
		s.AWS = signin.AWSConfig{Region: a.Region, Service: a.Service, AccessKeyID: a.AccessKeyID, RoleARN: a.RoleARN, ExternalID: a.ExternalID,
			SessionName: a.SessionName, STSEndpoint: a.STSEndpoint}
	case c.Session != nil:
		e := c.Session
		s.Protocol, s.Username, s.Secret = signin.Session, e.Username, secretAt("session.password", e.Password)
		s.Session = signin.SessionConfig{Method: e.Method, Path: e.Path, Form: e.Form, JSON: e.JSON, Headers: e.Headers, Keep: e.Keep, Token: e.Token,
			Send: placeOf(e.Send), Lifetime: e.Lifetime,
			CSRF:      signin.CSRF{Path: e.CSRF.Path, Cookie: e.CSRF.Cookie, Header: e.CSRF.Header, Field: e.CSRF.Field, SendAs: e.CSRF.SendAs},
			EndedWhen: signin.Ended{RedirectTo: e.Ended.RedirectTo, BodyContains: e.Ended.BodyContains}}
		for _, text := range e.Ended.Status {
			if n, err := strconv.Atoi(text); err == nil { // checked when it was loaded
				s.Session.EndedWhen.Status = append(s.Session.EndedWhen.Status, n)
			}
		}
	case c.OAuth2 != nil:
		o := c.OAuth2
		s.Protocol, s.Username, s.Secret, s.Send = signin.OAuth2, o.Username, secretAt("oauth2.client_secret", o.ClientSecret), placeOf(o.Send)
		if o.Key != nil {
			s.Key = keyOf("oauth2.key", *o.Key)
		}
		s.Assertion = assertionOf(o.Assertion)
		s.OAuth2 = signin.OAuth2Config{
			Grant: signin.Grant(o.Grant), Issuer: o.Issuer, AuthorizationURL: o.AuthorizationURL, TokenURL: o.TokenURL, DeviceURL: o.DeviceURL, RevokeURL: o.RevocationURL,
			ClientID: o.ClientID, AuthStyle: signin.AuthStyle(o.AuthStyle), Scopes: slices.Clone(o.Scopes), Audience: o.Audience, Resource: o.Resource,
			AuthorizationParams: maps.Clone(o.AuthorizationParams), Params: maps.Clone(o.Params), Headers: maps.Clone(o.Headers),
			SubjectToken: secretAt("oauth2.subject_token", o.SubjectToken), SubjectTokenType: o.SubjectTokenType,
			ActorToken: secretAt("oauth2.actor_token", o.ActorToken), ActorTokenType: o.ActorTokenType, RequestedType: o.RequestedTokenType,
			TokenField: o.TokenField, ExpiresField: o.ExpiresField, Lifetime: o.Lifetime,
		}
		for _, h := range o.SecretParams {
			s.OAuth2.SecretParams = append(s.OAuth2.SecretParams, signin.Header{Name: h.Name, Value: h.Value, Secret: secretAt("oauth2.secret_params."+h.Name+".secret", h.Secret)})
		}
		for _, h := range o.SecretHeaders {
			s.OAuth2.SecretHeaders = append(s.OAuth2.SecretHeaders, signin.Header{Name: h.Name, Value: h.Value, Secret: secretAt("oauth2.secret_headers."+h.Name+".secret", h.Secret)})
		}
		if s.OAuth2.Grant == signin.Password {
			s.OAuth2.SubjectToken = secretAt("oauth2.password", o.Password)
		}
		if s.Assertion.Issuer == "" {
			s.Assertion.Issuer = o.ClientID
		}
		for _, k := range o.Carry {
			s.OAuth2.Carry = append(s.OAuth2.Carry, signin.Carry(k))
		}
	}
	return s
}

func secretAt(path string, s config.Secret) signin.Secret {
	return signin.Secret{Ref: secretRef(s), Path: path}
}

// secretRef is where a configured secret comes from.
func secretRef(s config.Secret) secret.Ref {
	r := secret.Ref{Env: s.Env, File: s.File, Sealed: s.Sealed, Value: s.Value, Command: s.Command, Systemd: s.Systemd, Cache: s.Cache}
	if s.Vault != nil {
		r.Vault = secret.Vault(*s.Vault)
	}
	if s.Previous != nil {
		before := secretRef(*s.Previous)
		r.Previous = &before
	}
	return r
}

// placeOf is where a token stands: after "Bearer " in Authorization, unless it
// is said otherwise.
func placeOf(p config.Place) signin.Place {
	if p.Header == "" && p.Query == "" && p.Prefix != "" {
		p.Header = "Authorization"
	}
	return signin.Place(p)
}

func keyOf(path string, k config.Key) signin.Key {
	return signin.Key{Secret: secretAt(path+".secret", k.Secret), Password: secretAt(path+".password", k.Password), ID: k.ID}
}

func assertionOf(c config.Claims) signin.Assertion {
	a := signin.Assertion{Issuer: c.Issuer, Subject: c.Subject, Lifetime: c.Lifetime, Algorithm: c.Algorithm, Claims: c.Claims}
	if c.Audience != "" {
		a.Audience = []string{c.Audience}
	}
	return a
}
