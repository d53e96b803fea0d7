package provider_test

import (
	"fmt"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/provider/providertest"
)

// The pipeline's own cost, on a store in memory: documents of 3.5 KB.
func BenchmarkPipeline(b *testing.B) {
	s := providertest.Start(b, providertest.With(toy{}.provider()), providertest.WithoutControllers())
	axle := providertest.Group().Resource("Hallmark.Toy/axles", "a")
	var fields []string
	for i := range 100 {
		fields = append(fields, fmt.Sprintf(`"field%02d":{"name":"some value","n":%d}`, i, i))
	}
	body := []byte(`{"properties":{` + strings.Join(fields, ",") + `}}`)
	put := func(b *testing.B) {
		if _, err := s.Client.Put(b.Context(), axle, body); err != nil {
			b.Fatal(err)
		}
	}
	put(b)
	b.Run("get", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Client.Get(b.Context(), axle); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("put", func(b *testing.B) {
		for b.Loop() {
			put(b)
		}
	})
}
