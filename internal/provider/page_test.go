package provider

import (
	"encoding/json"
	"testing"
)

func TestPageIsJSON(t *testing.T) {
	one, two := json.RawMessage(`{"a":"<&>"}`), json.RawMessage("{ \"b\": 1 }\n")
	for want, got := range map[string]func() ([]byte, error){
		`{"value":[]}`:                                 func() ([]byte, error) { return page(nil, "") },
		`{"value":[null],"nextLink":"a\"b"}`:           func() ([]byte, error) { return page([]json.RawMessage{nil}, `a"b`) },
		"{\"value\":[{\"a\":\"<&>\"},{ \"b\": 1 }\n]}": func() ([]byte, error) { return page([]json.RawMessage{one, two}, "") },
	} {
		body, err := got()
		if err != nil || string(body) != want || !json.Valid(body) {
			t.Errorf("%s, %v; want %s", body, err, want)
		}
	}
}
