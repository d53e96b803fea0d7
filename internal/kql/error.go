package kql

import "fmt"

// Pos is a place in a query.
type Pos struct {
	Line   int // from 1
	Column int // from 0, in characters, as Azure counts
}

// Codes of errors, as Azure Resource Graph names them.
const (
	CodeParserFailure = "ParserFailure"        // it cannot be read
	CodeUnsupported   = "InvalidQueryLanguage" // it can be read by Kusto, but not here
	CodeSemantic      = "SemanticError"        // a name or a type does not fit
	CodeTooLarge      = "QueryTooLarge"        // it, or its answer, needs more than a query may have
)

// Error is why a query cannot be answered, and where that is in the query.
type Error struct {
	Code    string
	Message string
	Pos     Pos    // zero if there is no one place
	Token   string // what stands there
}

func (e *Error) Error() string {
	if e.Pos.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("line %d, column %d: %s", e.Pos.Line, e.Pos.Column+1, e.Message)
}

func errorAt(code string, t token, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Pos: t.pos, Token: t.text}
}
