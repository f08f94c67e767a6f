package api

import (
	"context"
	"fmt"
	"net/url"

	"github.com/danielgtaylor/huma/v2"
)

// Page is a part of the query of each listing. (What is embedded must be
// exported: huma sees nothing else.)
type Page struct {
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"100"`

	url url.URL
}

// Resolve notes the address, for the next page's.
func (p *Page) Resolve(c huma.Context) []error {
	p.url = c.URL()
	return nil
}

// Paged is a part of the query of each listing that has an order and cursors.
type Paged struct {
	Page
	Sort   string `query:"sort" maxLength:"64" doc:"One of the listing's sorts, with - before it for the other way; without one, in the order in which the rows were made; so does a search come that finds more than can be sorted" example:"-number"`
	Cursor string `query:"cursor" maxLength:"2048" doc:"Where the page before ended: from its header Link (rel=next)"`
	Count  bool   `query:"count" doc:"Say in the header Total-Count how many there are; 10000+, or another number with +, for more than were counted"`
}

func (p *Paged) paging() Paging { return Paging{Sort: p.Sort, Cursor: p.Cursor, Limit: p.Limit} }

// page is the answer of a listing.
type page[T any] struct {
	Link  string `header:"Link" doc:"The next page, as <…>; rel=\"next\"; nothing for the last"`
	Total string `header:"Total-Count" doc:"With count: how many there are; with + behind it, there are more"`
	Body  T
}

// pageOf is an answer of a listing whose next page begins at a cursor. Rows are
// never null.
func pageOf[T any](p *Paged, rows []T, next string, count func() (Count, error), err error) (*page[[]T], error) {
	if err != nil {
		return nil, problem(err)
	}
	if rows == nil {
		rows = []T{}
	}
	out := &page[[]T]{Body: rows}
	if next != "" {
		out.Link = p.next("cursor", next)
	}
	if p.Count && count != nil {
		n, err := count()
		if err != nil {
			return nil, problem(err)
		}
		out.Total = n.String()
	}
	return out, nil
}

// next is the header Link of a listing that goes on where a parameter says.
func (p *Page) next(name, value string) string {
	q := p.url.Query()
	q.Del("after")
	q.Set(name, value)
	return "<" + p.url.EscapedPath() + "?" + q.Encode() + `>; rel="next"`
}

// following is an answer of a listing whose next page begins behind the last row,
// which a parameter names. Rows are never null.
func following[T any](p *Page, rows []T, err error, name string, last func(T) any) (*page[[]T], error) {
	if err != nil {
		return nil, problem(err)
	}
	if rows == nil {
		rows = []T{}
	}
	out := &page[[]T]{Body: rows}
	if n := len(rows); n > 0 && n == p.Limit {
		out.Link = p.next(name, fmt.Sprint(last(rows[n-1])))
	}
	return out, nil
}

// requests is the answer of a listing of requests.
func (p *Paged) requests(ctx context.Context, s Service, f RequestFilter) (*page[[]*Request], error) {
	l, err := s.Requests(ctx, f)
	shown := make([]*Request, len(l.Rows))
	for i, r := range l.Rows {
		shown[i] = named(r)
	}
	if err == nil {
		err = NamePeople(ctx, s, shown...)
	}
	return pageOf(p, shown, l.Next, func() (Count, error) { return s.CountRequests(ctx, f) }, err)
}
