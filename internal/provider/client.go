package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
)

// Client calls other types in process, through the same pipeline as any client.
// It is a small value: copy it freely. Errors are *arm.Error.
type Client struct {
	doer      Doer
	principal identity.Principal
	// APIVersion is sent with each request; types accept any dated version.
	APIVersion string
}

// NewClient is a client that acts as p.
func NewClient(d Doer, p identity.Principal) Client {
	return Client{doer: d, principal: p, APIVersion: "2024-11-01"}
}

// As is the same client acting as somebody else.
func (c Client) As(p identity.Principal) Client { c.principal = p; return c }

// Principal is who the client acts as.
func (c Client) Principal() identity.Principal { return c.principal }

// Get is the resource as clients see it; arm.IsNotFound(err) if it does not exist.
func (c Client) Get(ctx context.Context, id arm.ID) (json.RawMessage, error) {
	r, err := c.do(ctx, http.MethodGet, id.String(), nil, nil)
	return r.Body, err
}

// Put creates or replaces a resource and returns it as answered: its
// provisioningState says whether work still goes on.
func (c Client) Put(ctx context.Context, id arm.ID, body any) (json.RawMessage, error) {
	r, err := c.do(ctx, http.MethodPut, id.String(), nil, body)
	return r.Body, err
}

// Create is Put that fails with 412 if the resource exists.
func (c Client) Create(ctx context.Context, id arm.ID, body any) (json.RawMessage, error) {
	r, err := c.do(ctx, http.MethodPut, id.String(), http.Header{"If-None-Match": {"*"}}, body)
	return r.Body, err
}

// Replace is Put that fails with 412 unless the resource still has the etag with which
// it was read.
func (c Client) Replace(ctx context.Context, id arm.ID, etag string, body any) (json.RawMessage, error) {
	r, err := c.do(ctx, http.MethodPut, id.String(), http.Header{"If-Match": {etag}}, body)
	return r.Body, err
}

// Patch merges (RFC 7396) into a resource.
func (c Client) Patch(ctx context.Context, id arm.ID, body any) (json.RawMessage, error) {
	r, err := c.do(ctx, http.MethodPatch, id.String(), nil, body)
	return r.Body, err
}

// Delete asks for a resource to go; a missing one is no error. It may return
// before the resource is gone: Get until not found.
func (c Client) Delete(ctx context.Context, id arm.ID) error {
	_, err := c.do(ctx, http.MethodDelete, id.String(), nil, nil)
	return err
}

// Post runs an action; body may be nil. For an asynchronous action the answer is empty.
func (c Client) Post(ctx context.Context, id arm.ID, action string, body any) (json.RawMessage, error) {
	r, err := c.do(ctx, http.MethodPost, id.String()+"/"+action, nil, body)
	return r.Body, err
}

// Check reports why a Put would be refused by the rights of the caller, by the type's
// rules for names, locations and tags, or by policy; nil if it would not, or if that
// cannot be said before what the resource refers to exists. It changes nothing.
func (c Client) Check(ctx context.Context, id arm.ID, body any) error {
	raw, err := marshalBody(body)
	if err != nil {
		return fmt.Errorf("checking %s: %w", id, err)
	}
	r := c.doer.Do(ctx, &Request{Method: http.MethodPut, Path: id.String(), Query: url.Values{"api-version": {c.APIVersion}}, Body: raw, Principal: c.principal, Check: true})
	if r.Status >= 400 {
		return parseError(r)
	}
	return nil
}

// Read gets a path that is no resource, such as …/providers/NAMESPACE.
func (c Client) Read(ctx context.Context, path string) (json.RawMessage, error) {
	r, err := c.do(ctx, http.MethodGet, path, nil, nil)
	return r.Body, err
}

// List is all items of a collection, over all pages. scope is a subscription, group, or
// any id that the type may hang on; for a child type it is the parent's id.
func (c Client) List(ctx context.Context, scope arm.ID, typ arm.Type) ([]json.RawMessage, error) {
	path := scope.String() + "/providers/" + string(typ)
	if parent, ok := typ.Parent(); ok && scope.Type().Equal(parent) {
		path = scope.String() + "/" + typ.Name()
	}
	query := url.Values{}
	var all []json.RawMessage
	for {
		r, err := c.request(ctx, http.MethodGet, path, query, nil, nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			Value    []json.RawMessage
			NextLink string
		}
		if err := json.Unmarshal(r.Body, &page); err != nil {
			return nil, fmt.Errorf("listing %s: %w", path, err)
		}
		all = append(all, page.Value...)
		next, err := url.Parse(page.NextLink)
		if page.NextLink == "" || err != nil {
			return all, err
		}
		query = next.Query()
	}
}

func (c Client) do(ctx context.Context, method, path string, h http.Header, body any) (*Response, error) {
	return c.request(ctx, method, path, url.Values{}, h, body)
}

func (c Client) request(ctx context.Context, method, path string, q url.Values, h http.Header, body any) (*Response, error) {
	raw, err := marshalBody(body)
	if err != nil {
		return &Response{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	q.Set("api-version", c.APIVersion)
	r := c.doer.Do(ctx, &Request{Method: method, Path: path, Query: q, Header: h, Body: raw, Principal: c.principal})
	if r.Status >= 400 {
		return &Response{Status: r.Status, Header: r.Header}, parseError(r)
	}
	return r, nil
}

func marshalBody(body any) ([]byte, error) {
	switch b := body.(type) {
	case nil:
		return nil, nil
	case json.RawMessage:
		return b, nil
	case []byte:
		return b, nil
	}
	return json.Marshal(body)
}

func parseError(r *Response) error {
	var env struct{ Error *arm.Error }
	if err := json.Unmarshal(r.Body, &env); err != nil || env.Error == nil {
		return arm.Errorf(r.Status, http.StatusText(r.Status), "The request was answered with status %d.", r.Status)
	}
	env.Error.Status = r.Status
	return env.Error
}
