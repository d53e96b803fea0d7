package resourcegraph

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/kql"
)

// Page sizes.
const (
	defaultTop = 100
	largestTop = 1000
)

// request is a query as clients send it.
type request struct {
	Query            string            `json:"query"`
	Subscriptions    []string          `json:"subscriptions"`
	ManagementGroups []string          `json:"managementGroups"`
	Facets           []json.RawMessage `json:"facets"`
	Options          struct {
		Top                *int   `json:"$top"`
		Skip               int    `json:"$skip"`
		SkipToken          string `json:"$skipToken"`
		ResultFormat       string `json:"resultFormat"`
		AllowPartialScopes bool   `json:"allowPartialScopes"`
	} `json:"options"`

	top   int
	page  position
	table bool
}

// position is where a page begins; a $skipToken is one.
type position struct {
	Skip  int    `json:"s"`
	Total int    `json:"t"`
	Query string `json:"q"` // a digest: the token of one query means nothing to another
}

func readRequest(body []byte, apiVersion string) (*request, error) {
	r := &request{}
	if err := json.Unmarshal(body, r); err != nil {
		return nil, arm.BadRequest(arm.CodeInvalidRequestContent, "body", "The body must be an object such as {\"query\": \"Resources | count\"}: %v.", err)
	}
	if strings.TrimSpace(r.Query) == "" {
		return nil, arm.BadRequest("InvalidRequest", "query", "The query is missing. Send one such as Resources | count.")
	}
	switch strings.ToLower(r.Options.ResultFormat) {
	case "":
		r.table = apiVersion < "2020" // what clients of that time expect
	case "objectarray":
	case "table":
		r.table = true
	default:
		return nil, arm.BadRequest("InvalidRequest", "options.resultFormat", "resultFormat is %q; it must be objectArray or table.", clip(r.Options.ResultFormat))
	}
	return r, r.pages()
}

func (r *request) pages() error {
	r.top = defaultTop
	if t := r.Options.Top; t != nil {
		if *t < 1 || *t > largestTop {
			return arm.BadRequest("InvalidRequest", "options.$top", "$top is %d; it must be from 1 to %d.", *t, largestTop)
		}
		r.top = *t
	}
	if r.Options.Skip < 0 {
		return arm.BadRequest("InvalidRequest", "options.$skip", "$skip is %d; it must not be negative.", r.Options.Skip)
	}
	r.page = position{Skip: r.Options.Skip, Query: r.digest()}
	if r.Options.SkipToken == "" {
		return nil
	}
	var p position
	raw, err := base64.RawURLEncoding.DecodeString(r.Options.SkipToken)
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	if err != nil || p.Query != r.page.Query || p.Skip < 0 || p.Total < 0 {
		return arm.BadRequest("InvalidSkipToken", "options.$skipToken", "The $skipToken is not one that this server made for this query and these scopes. Start again without it.")
	}
	r.page = p
	return nil
}

func (r *request) digest() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", r.Query, r.Subscriptions, r.ManagementGroups))
	return base64.RawURLEncoding.EncodeToString(sum[:6])
}

func (p position) token() string {
	raw, err := json.Marshal(p)
	if err != nil { // numbers and a text
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// invalid is a query's error in the service's shape: a detail says where.
func invalid(err error) error {
	var e *kql.Error
	if !errors.As(err, &e) {
		return err
	}
	detail := &arm.Error{Code: e.Code, Message: e.Message}
	if e.Pos.Line > 0 {
		detail.Position = &arm.Position{Line: e.Pos.Line, Column: e.Pos.Column, Token: e.Token}
	}
	out := arm.Errorf(400, "BadRequest", "Query is invalid: %v.", e)
	out.Details = []*arm.Error{{Code: "InvalidQuery", Message: "Query is invalid. See docs/graph.md for the language, and the other detail for the place."}, detail}
	return out
}

func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
