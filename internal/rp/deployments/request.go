package deployments

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/template"
)

// decode reads a body as az sends it: JSON, but for the template, which is the file
// as the user wrote it behind an unquoted key.
func decode(body []byte) (json.RawMessage, error) {
	clean := template.Clean(string(body))
	if _, err := value.Parse(clean); err != nil {
		return nil, arm.BadRequest(arm.CodeInvalidRequestContent, "", "The request content was invalid and could not be deserialized: %v.", err).Because(err)
	}
	return json.RawMessage(clean), nil
}

// request is what a deployment is asked to do.
type request struct {
	mode       string
	location   string
	template   string // its text, on the lines where it was sent
	parameters value.Value
}

// read takes a request apart, and says what of it cannot be done here.
func read(body json.RawMessage) (request, []*arm.Error) {
	r := request{location: arm.GetString(body, "location"), mode: arm.GetString(body, "properties.mode")}
	var errs []*arm.Error
	bad := func(code, target, format string, args ...any) {
		errs = append(errs, arm.BadRequest(code, target, format, args...))
	}
	for _, no := range []struct{ path, why string }{
		{"properties.templateLink", "linked templates and template specs are not supported here: send the template itself in properties.template"},
		{"properties.parametersLink", "linked parameters are not supported here: send them in properties.parameters"},
		{"properties.onErrorDeployment", "rolling back to another deployment is not supported here: leave onErrorDeployment out"},
	} {
		if _, ok := arm.Get(body, no.path); ok {
			bad("NotSupported", no.path, "The request cannot be served: %s.", no.why)
		}
	}
	switch {
	case strings.EqualFold(r.mode, "Incremental"):
	case strings.EqualFold(r.mode, "Complete"):
		bad("NotSupported", "properties.mode", "The mode Complete, which deletes what the template does not name, is not supported here. Use Incremental, and delete by yourself.")
	default:
		bad(arm.CodeInvalidRequestContent, "properties.mode", "The mode is '%s'; it must be Incremental.", r.mode)
	}
	if raw, ok := arm.Get(body, "properties.template"); ok {
		r.template = onItsLines(body, raw)
	} else if _, linked := arm.Get(body, "properties.templateLink"); !linked {
		bad(arm.CodeInvalidRequestContent, "properties.template", "The deployment has no template.")
	}
	if raw, ok := arm.Get(body, "properties.parameters"); ok {
		given, err := value.Parse(string(raw))
		if err == nil {
			given, err = template.ParameterValues(given)
		}
		if err != nil {
			bad(template.CodeInvalidTemplate, "properties.parameters", "Deployment template validation failed: '%v'.", err)
		}
		r.parameters = given
	}
	return r, errs
}

// onItsLines is the template behind as many line breaks as are before it in the body,
// so that problems have the line that the author sees: az puts everything else on
// the first line.
func onItsLines(body, raw json.RawMessage) string {
	root, err := value.Parse(string(body))
	if err != nil {
		return string(raw)
	}
	at := root.Find(value.NewKey("properties")).Find(value.NewKey("template")).Pos()
	line, _ := value.Position(string(body), at)
	return strings.Repeat("\n", line-1) + string(raw)
}

// hash is a template's hash, in the form that ARM has: a number in decimal.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return strconv.FormatUint(binary.BigEndian.Uint64(sum[:]), 10)
}

func whatIf(context.Context, *provider.Call) (*provider.Response, error) {
	return nil, arm.BadRequest("NotSupported", "", "What-if is not served here yet. POST …/validate checks the template, the rights and the policies.")
}

func calculateHash(_ context.Context, c *provider.Call) (*provider.Response, error) {
	clean, err := decode(c.Request.Body)
	if err != nil {
		return nil, err
	}
	v, err := value.Parse(string(clean))
	if err != nil {
		return nil, fmt.Errorf("reading a template: %w", err)
	}
	return provider.JSON(200, map[string]string{"minifiedTemplate": v.JSON(), "templateHash": hash(v.JSON())})
}

// invalid makes ARM's error of a template's problems.
func invalid(err error) *arm.Error {
	problems, ok := err.(template.Problems) //nolint:errorlint // package template returns them bare
	if !ok || len(problems) == 0 {
		return arm.BadRequest(template.CodeInvalidTemplate, "", "Deployment template validation failed: '%v'.", err)
	}
	var all []*arm.Error
	for _, p := range problems {
		e := arm.BadRequest(p.Code, p.Path, "Deployment template validation failed: '%s'.", sentence(p))
		info, err := json.Marshal(map[string]any{"lineNumber": p.Line, "linePosition": p.Column, "path": p.Path})
		if err == nil {
			e.AdditionalInfo = []arm.AdditionalInfo{{Type: "TemplateViolation", Info: info}}
		}
		all = append(all, e)
	}
	first := *all[0]
	if first.Details = all[1:]; len(all) > 1 {
		first.Message += fmt.Sprintf(" %d more problems are in the details.", len(all)-1)
	}
	return &first
}

func sentence(p *template.Problem) string {
	if p.Line == 0 {
		return p.Message
	}
	return fmt.Sprintf("%s (line %d, column %d)", p.Message, p.Line, p.Column)
}
