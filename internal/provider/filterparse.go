package provider

import (
	"regexp"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
)

// filterable are the properties that a $filter may compare.
var filterable = map[string]bool{
	"resourcetype": true, "resourcegroup": true, "name": true, "location": true, "tagname": true, "tagvalue": true, "kind": true, "provisioningstate": true,
	"identity": true, "identity/principalid": true, "plan": true, "plan/publisher": true, "plan/product": true, "plan/name": true, "plan/version": true,
}

// What a hostile filter may cost.
const (
	maxFilterDepth        = 16
	maxFilterAlternatives = 64
)

var filterToken = regexp.MustCompile(`^\s*(?:'((?:[^']|'')*)'|([A-Za-z][A-Za-z/]*)|([(),]))`)

type filterParser struct {
	rest  string
	depth int
	f     *filter
	own   []string // properties of the type that is listed
}

// parseFilter reads a $filter, or says what is possible. own are properties that the
// documents have below "properties".
func parseFilter(text string, own ...string) (filter, error) {
	f := filter{}
	p := filterParser{rest: strings.TrimSpace(text), f: &f, own: own}
	if p.rest == "" {
		return f, nil
	}
	any, ok := p.or()
	if !ok || strings.TrimSpace(p.rest) != "" {
		return filter{}, arm.BadRequest("InvalidFilterInQueryString", "$filter",
			"The filter '%s' is not supported here. Compare %s with eq or ne, or use substringof('text', name), startswith(name, 'text') and atScope(); join them by 'and', 'or' and parentheses.",
			clip(text), strings.Join(append([]string{"resourceType, resourceGroup, name, location, kind, tagName, tagValue, identity/principalId, plan/…"}, own...), ", "))
	}
	f.any = any
	if len(any) == 1 && len(any[0]) == 0 {
		f.any = nil // atScope() alone
	}
	return f, nil
}

// next is the next token: a quoted text (with its quotes undone), a word in lower case,
// or punctuation.
func (p *filterParser) next() (kind byte, token string) {
	m := filterToken.FindStringSubmatch(p.rest)
	if m == nil {
		return 0, ""
	}
	p.rest = p.rest[len(m[0]):]
	switch {
	case m[2] != "":
		return 'w', strings.ToLower(m[2])
	case m[3] != "":
		return m[3][0], m[3]
	}
	return '\'', strings.ReplaceAll(m[1], "''", "'")
}

// take steps over the token if it comes next.
func (p *filterParser) take(kind byte, token string) bool {
	before := p.rest
	if k, t := p.next(); k == kind && (token == "" || t == token) {
		return true
	}
	p.rest = before
	return false
}

func (p *filterParser) or() (all []conjunction, ok bool) {
	for {
		some, ok := p.and()
		if !ok || len(all)+len(some) > maxFilterAlternatives {
			return nil, false
		}
		all = append(all, some...)
		if !p.take('w', "or") {
			return all, true
		}
	}
}

// and multiplies out: (a or b) and c is a and c, or b and c.
func (p *filterParser) and() ([]conjunction, bool) {
	all := []conjunction{nil}
	for {
		some, ok := p.term()
		if !ok || len(all)*len(some) > maxFilterAlternatives {
			return nil, false
		}
		var product []conjunction
		for _, a := range all {
			for _, b := range some {
				product = append(product, append(append(conjunction{}, a...), b...))
			}
		}
		if all = product; !p.take('w', "and") {
			return all, true
		}
	}
}

func (p *filterParser) term() ([]conjunction, bool) {
	if p.take('(', "") {
		if p.depth++; p.depth > maxFilterDepth {
			return nil, false
		}
		inner, ok := p.or()
		p.depth--
		return inner, ok && p.take(')', "")
	}
	kind, word := p.next()
	if kind != 'w' {
		return nil, false
	}
	switch word {
	case "atscope":
		p.f.atScope = true
		return []conjunction{nil}, p.take('(', "") && p.take(')', "")
	case "substringof":
		return p.call("contains", false)
	case "startswith":
		return p.call("starts", true)
	}
	kind, compare := p.next()
	if p.isOwn(word) {
		word = "properties/" + word
	} else if !filterable[word] {
		return nil, false
	}
	if kind != 'w' || compare != "eq" && compare != "ne" {
		return nil, false
	}
	kind, value := p.next()
	return []conjunction{{{word, compare, value}}}, kind == '\''
}

func (p *filterParser) isOwn(word string) bool {
	return slices.ContainsFunc(p.own, func(own string) bool { return strings.EqualFold(own, word) })
}

// call reads the arguments of a function: substringof('text', name), startswith(name, 'text').
func (p *filterParser) call(compare string, nameFirst bool) ([]conjunction, bool) {
	if !p.take('(', "") {
		return nil, false
	}
	k1, a := p.next()
	comma := p.take(',', "")
	k2, b := p.next()
	if nameFirst {
		k1, a, k2, b = k2, b, k1, a
	}
	return []conjunction{{{b, compare, a}}}, comma && k1 == '\'' && k2 == 'w' && filterable[b] && b != "tagvalue" && p.take(')', "")
}
