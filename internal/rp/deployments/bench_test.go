package deployments_test

import (
	"fmt"
	"testing"

	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/deployments"
	"hallmark.dev/hallmark/internal/rp/recorded"
	"hallmark.dev/hallmark/internal/store/sqlite"
)

// BenchmarkDeploy200 is a deployment of 200 recorded resources, from the PUT over TLS
// to the GET that shows it as succeeded, on SQLite with every commit durable.
func BenchmarkDeploy200(b *testing.B) {
	db, err := sqlite.Open(b.Context(), b.TempDir()+"/db")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	rec, err := recorded.New(recorded.Config{})
	if err != nil {
		b.Fatal(err)
	}
	s := providertest.Start(b, providertest.WithStore(db), providertest.With(deployments.New(deployments.Config{Sealer: sealer(b)}), rec))
	const loop = `"resources":[{"type":"Microsoft.Storage/storageAccounts","name":"[concat(parameters('p'), copyIndex())]","apiVersion":"2024-01-01","location":"local",
		"copy":{"name":"l","count":200},"sku":{"name":"Standard_LRS"},"kind":"StorageV2","tags":{"i":"[string(copyIndex())]"},"properties":{"minimumTlsVersion":"TLS1_2"}}]`
	for i := 0; b.Loop(); i++ {
		state, doc := deploy(b, s, fmt.Sprintf("d%d", i), body(tpl(`"parameters":{"p":{"type":"string"}},`+loop), fmt.Sprintf(`{"p":{"value":"sa%d"}}`, i)))
		if state != "Succeeded" {
			b.Fatal(doc)
		}
	}
}
