package azure

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// Message renders an error for a person: ARM's code and message with its
// details, one a line, instead of the whole HTTP exchange.
func Message(err error) string {
	var e *azcore.ResponseError
	if !errors.As(err, &e) {
		return err.Error()
	}
	detail, ok := parseError(e)
	if !ok {
		return fmt.Sprintf("%s (HTTP %d)", e.ErrorCode, e.StatusCode)
	}
	return detail.text("")
}

type errorDetail struct {
	Code    string        `json:"code"`
	Message string        `json:"message"`
	Target  string        `json:"target"`
	Details []errorDetail `json:"details"`
}

func (d errorDetail) text(indent string) string {
	line := d.Code + ": " + d.Message
	if d.Target != "" {
		line += " (" + d.Target + ")"
	}
	lines := []string{indent + line}
	for _, inner := range d.Details {
		lines = append(lines, inner.text(indent+"  "))
	}
	return strings.Join(lines, "\n")
}

// parseError reads the envelope {"error":{…}} that ARM answers with, and the
// bare {"code":…} of a failed operation.
func parseError(e *azcore.ResponseError) (errorDetail, bool) {
	if e.RawResponse == nil || e.RawResponse.Body == nil {
		return errorDetail{}, false
	}
	body, err := io.ReadAll(io.LimitReader(e.RawResponse.Body, maxAnswer))
	if err != nil {
		return errorDetail{}, false
	}
	e.RawResponse.Body = io.NopCloser(strings.NewReader(string(body)))
	var envelope struct {
		Error errorDetail `json:"error"`
	}
	if json.Unmarshal(body, &envelope) == nil && envelope.Error.Code != "" {
		return envelope.Error, true
	}
	return errorDetail{}, false
}
