package correlation_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/correlation"
)

func TestLinesCarryTheID(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(correlation.Handler(correlation.Handler(slog.NewJSONHandler(&out, nil)))).With("part", "test")
	ctx := correlation.With(t.Context(), "corr-1")
	log.InfoContext(correlation.With(ctx, ""), "inside")
	log.InfoContext(t.Context(), "outside")
	lines := strings.Split(out.String(), "\n")
	if !strings.Contains(lines[0], `"part":"test","correlationId":"corr-1"`) || strings.Contains(lines[1], correlation.Attribute) {
		t.Error(out.String())
	}
}
