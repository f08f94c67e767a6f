package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// Problem is the body of every error answer (RFC 9457), with the host's error
// code and the field at fault.
type Problem struct {
	// Type leads to what the code means.
	Type   string    `json:"type" doc:"Where it is said what the code means." example:"/api/docs#NotFound"`
	Title  string    `json:"title" example:"Not Found"`
	Status int       `json:"status" example:"404"`
	Detail string    `json:"detail" doc:"For a person: what is wrong, and what to do."`
	Code   host.Code `json:"code" example:"NotFound"`
	// Field is a JSON pointer into the body (RFC 6901), the name of a parameter, or
	// the path of a key of the configuration.
	Field string `json:"field,omitempty" doc:"What is at fault: a JSON pointer into the body (/user), a parameter (query limit), or a key of the configuration (apps.acme.credential)."`
	// Errors are all that is wrong, where it is more than one thing.
	Errors []string `json:"errors,omitempty"`
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus is the HTTP status of the answer.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes huma answer with application/problem+json.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// newProblem is a problem of a status.
func newProblem(status int, code host.Code, detail string) *Problem {
	return &Problem{Type: DocsPath + "#" + string(code), Title: http.StatusText(status), Status: status, Detail: detail, Code: code}
}

func init() {
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		p := newProblem(status, codeOfStatus(status), message)
		for _, err := range errs {
			var detail *huma.ErrorDetail
			if !errors.As(err, &detail) {
				p.Errors = append(p.Errors, err.Error())
				continue
			}
			field := pointer(detail.Location)
			if p.Field == "" {
				p.Field = field
			}
			p.Errors = append(p.Errors, strings.TrimPrefix(field+": "+detail.Message, ": "))
		}
		if message == "validation failed" && len(p.Errors) > 0 {
			p.Detail = p.Errors[0]
			if more := len(p.Errors) - 1; more > 0 {
				p.Detail += fmt.Sprintf(" (and %d more)", more)
			}
		}
		return p
	}
}

// pointer says in a problem's words what huma calls body.users[0].name.
func pointer(location string) string {
	in, rest, _ := strings.Cut(location, ".")
	in, index, _ := strings.Cut(in, "[")
	if in != "body" {
		return strings.TrimSpace(in + " " + rest)
	}
	if index != "" {
		rest = "[" + index + "." + rest
	}
	out := ""
	for part := range strings.SplitSeq(strings.Trim(rest, "."), ".") {
		for i, step := range strings.Split(part, "[") {
			if step = strings.TrimSuffix(step, "]"); step != "" || i > 0 {
				out += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(step)
			}
		}
	}
	return out
}

func codeOfStatus(status int) host.Code {
	switch status {
	case http.StatusUnauthorized:
		return host.Unauthorized
	case http.StatusForbidden:
		return host.PermissionDenied
	case http.StatusNotFound:
		return host.NotFound
	case http.StatusConflict:
		return host.Conflict
	case http.StatusPreconditionFailed:
		return host.Changed
	case http.StatusRequestEntityTooLarge:
		return host.LimitExceeded
	case http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType, http.StatusNotAcceptable:
		return host.Unsupported
	case http.StatusTooManyRequests:
		return host.RateLimited
	case http.StatusServiceUnavailable:
		return host.Unavailable
	}
	if status >= 400 && status < 500 {
		return host.InvalidInput
	}
	return host.Internal
}

// problem makes the answer of an error.
func problem(err error) *Problem {
	var made *Problem
	if errors.As(err, &made) {
		return made
	}
	code := host.CodeOf(err)
	status := code.HTTPStatus()
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		status = http.StatusRequestEntityTooLarge
		return newProblem(status, host.LimitExceeded, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit))
	}
	p := newProblem(status, code, err.Error())
	var e *host.Error
	if errors.As(err, &e) {
		p.Field, p.Detail = e.Field, e.Message
	}
	return p
}

func refuse(w http.ResponseWriter, r *http.Request, err *host.Error) { Refuse(w, r, err) }

// Refuse answers with the problem of an error.
func Refuse(w http.ResponseWriter, _ *http.Request, err error) {
	p := problem(err)
	switch {
	case p.Status == http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case w.Header().Get("Allow") != "":
		p.Status, p.Title = http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed)
	}
	p.write(w)
}

// write answers with a problem.
func (p *Problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", p.ContentType(""))
	h.Del("Content-Length")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // who asked may be gone
}

// AsError turns a problem back into the host's error, for a client.
func (p *Problem) AsError() *host.Error {
	err := &host.Error{Code: p.Code, Message: p.Detail, Field: p.Field}
	for _, e := range p.Errors {
		if e != err.Error() && e != p.Detail {
			err.Message += "\n  " + e
		}
	}
	if err.Message == "" {
		err.Message = "HTTP " + strconv.Itoa(p.Status) + " " + p.Title
	}
	return err
}
