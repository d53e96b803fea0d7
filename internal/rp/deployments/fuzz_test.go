package deployments

import (
	"testing"

	"hallmark.dev/hallmark/internal/arm"
)

// FuzzRequest: whatever a client sends as a deployment is read or refused, and what is
// read is JSON.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"properties":{"mode":"Incremental","parameters":{"a":{"value":1}}, template:{"resources":[] // c` + "\n" + `}}}`))
	f.Add([]byte(`{"location":"local","properties":{"mode":"Complete","templateLink":{"uri":"x"}}}`))
	f.Add([]byte(`{properties:{template:'x',mode:/*`))
	f.Fuzz(func(t *testing.T, body []byte) {
		clean, err := decode(body)
		if err != nil || arm.CheckJSON(clean) != nil {
			return
		}
		r, errs := read(clean)
		if len(errs) == 0 && r.template == "" {
			t.Errorf("no template and no error: %q", body)
		}
	})
}
