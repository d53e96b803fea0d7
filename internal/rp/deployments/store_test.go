package deployments_test

import (
	"testing"

	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/store"
)

func read(t testing.TB, s *providertest.Server, key string) *store.Document {
	t.Helper()
	d, err := store.Get(t.Context(), s.Store, key)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
