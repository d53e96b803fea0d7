package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// errorCode is a code of ARM errors as the sources use it.
type errorCode struct {
	statuses map[string]bool
	areas    map[string]bool // packages, without what they are below
	says     string          // the first message, with … for what is filled in
}

// errorCodes are all codes that the sources give to ARM errors. One that cannot be found out fails the
// test: the table would lack it without anybody noticing.
func errorCodes(t *testing.T) map[string]*errorCode {
	t.Helper()
	s := &codeScan{t: t, found: map[string]*errorCode{}, consts: map[string]string{}}
	err := filepath.WalkDir("../../internal", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.HasSuffix(path, "test") {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		return s.parse(path)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range s.files {
		s.constants(f)
	}
	for _, f := range s.files {
		s.scan(f)
	}
	return s.found
}

type codeScan struct {
	t      *testing.T
	set    token.FileSet
	files  []*sourceFile
	consts map[string]string // package.Name → value
	found  map[string]*errorCode
}

type sourceFile struct {
	*ast.File
	area string // "rp/network"
	name string // of the package
}

func (s *codeScan) parse(path string) error {
	f, err := parser.ParseFile(&s.set, path, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	area, err := filepath.Rel("../../internal", filepath.Dir(path))
	s.files = append(s.files, &sourceFile{f, strings.TrimPrefix(area, "rp/"), f.Name.Name})
	return err
}

// constants notes texts that have a name. Those of the type Code, and those named so, are codes:
// packages that know nothing of ARM have them, and somebody else puts them into errors.
func (s *codeScan) constants(f *sourceFile) {
	ast.Inspect(f.File, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != len(spec.Values) {
			return true
		}
		for i, name := range spec.Names {
			text, ok := literal(spec.Values[i])
			if !ok {
				continue
			}
			s.consts[f.name+"."+name.Name] = text
			typ, _ := spec.Type.(*ast.Ident)
			if f.name != "arm" && wellFormed.MatchString(text) && (typ != nil && typ.Name == "Code" || strings.HasPrefix(strings.ToLower(name.Name), "code")) {
				s.note(f, text, "", strings.TrimSpace(spec.Comment.Text()))
			}
		}
		return true
	})
}

var wellFormed = regexp.MustCompile(`^[A-Z][A-Za-z]{4,}$`)

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(l.Value)
	return text, err == nil
}

func (s *codeScan) note(f *sourceFile, code, status, says string) {
	c := s.found[code]
	if c == nil {
		c = &errorCode{statuses: map[string]bool{}, areas: map[string]bool{}}
		s.found[code] = c
	}
	if status != "" {
		c.statuses[status] = true
	}
	c.areas[f.area] = true
	if c.says == "" {
		c.says = says
	}
}

// scan looks at each function for what it makes errors of.
func (s *codeScan) scan(f *sourceFile) {
	var within *ast.FuncDecl
	ast.Inspect(f.File, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			within = n
		case *ast.CallExpr:
			s.call(f, within, n)
		case *ast.CompositeLit:
			s.composite(f, within, n)
		case *ast.KeyValueExpr:
			if k, ok := n.Key.(*ast.Ident); ok && k.Name == "NotFoundCode" {
				code, _ := literal(n.Value)
				s.note(f, code, "404", "")
			}
		}
		return true
	})
}

// call reads arm.BadRequest(code, target, format, …), arm.Conflict and arm.Errorf(status, code, format, …).
func (s *codeScan) call(f *sourceFile, within *ast.FuncDecl, c *ast.CallExpr) {
	name := called(f, c)
	at, status := map[string]int{"BadRequest": 0, "Conflict": 0, "Errorf": 1}[name], map[string]string{"BadRequest": "400", "Conflict": "409"}[name]
	if name != "BadRequest" && name != "Conflict" && name != "Errorf" || len(c.Args) < 3 || slices.Contains(parameters(within.Type), nameOf(c.Args[at])) && f.name == "arm" {
		return
	}
	if name == "Errorf" {
		status = number(c.Args[0])
	}
	says := beginning(c.Args[2])
	for _, code := range s.codes(f, within, c.Args[at]) {
		s.note(f, code, status, says)
	}
}

// called is the name of a function of package arm, "" of another.
func called(f *sourceFile, c *ast.CallExpr) string {
	switch fun := c.Fun.(type) {
	case *ast.SelectorExpr:
		if x, ok := fun.X.(*ast.Ident); ok && x.Name == "arm" {
			return fun.Sel.Name
		}
	case *ast.Ident:
		if f.name == "arm" {
			return fun.Name
		}
	}
	return ""
}

var httpStatuses = map[string]string{"StatusBadRequest": "400", "StatusUnauthorized": "401", "StatusForbidden": "403", "StatusNotFound": "404", "StatusMethodNotAllowed": "405",
	"StatusConflict": "409", "StatusPreconditionFailed": "412", "StatusRequestEntityTooLarge": "413", "StatusTooManyRequests": "429", "StatusInternalServerError": "500", "StatusServiceUnavailable": "503"}

// number is a status; 0, of errors that are part of another or of an operation, is none.
func number(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Value != "0" {
			return e.Value
		}
	case *ast.SelectorExpr:
		return httpStatuses[e.Sel.Name]
	}
	return ""
}

// composite reads arm.Error{Status: …, Code: …, Message: …}.
func (s *codeScan) composite(f *sourceFile, within *ast.FuncDecl, c *ast.CompositeLit) {
	typ, ok := c.Type.(*ast.SelectorExpr)
	if !ok || typ.Sel.Name != "Error" {
		return
	}
	if x, ok := typ.X.(*ast.Ident); !ok || x.Name != "arm" {
		return
	}
	fields := map[string]ast.Expr{}
	for _, e := range c.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			fields[kv.Key.(*ast.Ident).Name] = kv.Value
		}
	}
	if fields["Code"] == nil {
		return
	}
	for _, code := range s.codes(f, within, fields["Code"]) {
		s.note(f, code, number(fields["Status"]), beginning(fields["Message"]))
	}
}

// beginning is the literal text that a message begins with.
func beginning(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		if rest, ok := literal(e.Y); ok {
			return beginning(e.X) + rest
		}
		return beginning(e.X) + "%s"
	case *ast.CallExpr:
		if len(e.Args) > 0 {
			return beginning(e.Args[0])
		}
	}
	text, _ := literal(e)
	return text
}

// codes are the texts that an expression can be.
func (s *codeScan) codes(f *sourceFile, within *ast.FuncDecl, e ast.Expr) []string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ := literal(e)
		return []string{text}
	case *ast.CallExpr:
		switch name := nameOf(e.Fun); name {
		case "string": // string(policy.InvalidDefinition)
			return s.codes(f, within, e.Args[0])
		case "StatusText": // of an answer that is no ARM error
			return nil
		default:
			if all := s.returned(f, name); len(all) > 0 {
				return all
			}
		}
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok && s.consts[x.Name+"."+e.Sel.Name] != "" {
			return []string{s.consts[x.Name+"."+e.Sel.Name]}
		}
		if strings.HasSuffix(e.Sel.Name, "Code") {
			return nil // another error's, which is counted where that is made
		}
	case *ast.Ident:
		if text := s.consts[f.name+"."+e.Name]; text != "" {
			return []string{text}
		}
		if all := s.assigned(f, within, e.Name); len(all) > 0 {
			return all
		}
	}
	s.t.Errorf("%s: which code is this? Give arm's functions a literal, a constant, or a variable that is given such", s.set.Position(e.Pos()))
	return nil
}

// assigned are the texts that a variable of a function is given, or, if it is a parameter, that calls
// in the same package give it.
func (s *codeScan) assigned(f *sourceFile, within *ast.FuncDecl, name string) (all []string) {
	ast.Inspect(within, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok {
			for i, left := range a.Lhs {
				if id, ok := left.(*ast.Ident); ok && id.Name == name && i < len(a.Rhs) {
					all = append(all, s.texts(f, a.Rhs[i])...)
				}
			}
		}
		return true
	})
	if at := slices.Index(parameters(within.Type), name); at >= 0 {
		for _, other := range s.files {
			if other.name == f.name {
				all = append(all, s.given(other, other.File, within.Name.Name, at)...)
			}
		}
	}
	ast.Inspect(within, func(n ast.Node) bool { // bad := func(code, …) {…}
		if a, ok := n.(*ast.AssignStmt); ok && len(a.Rhs) == 1 {
			if lit, ok := a.Rhs[0].(*ast.FuncLit); ok {
				if at := slices.Index(parameters(lit.Type), name); at >= 0 {
					all = append(all, s.given(f, within, nameOf(a.Lhs[0]), at)...)
				}
			}
		}
		return true
	})
	return all
}

// given are the texts that calls of a function give it.
func (s *codeScan) given(f *sourceFile, in ast.Node, function string, at int) (all []string) {
	ast.Inspect(in, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok && at < len(c.Args) && nameOf(c.Fun) == function {
			all = append(all, s.texts(f, c.Args[at])...)
		}
		return true
	})
	return all
}

// returned are the texts that a function of the package returns.
func (s *codeScan) returned(f *sourceFile, function string) (all []string) {
	for _, other := range s.files {
		if other.name != f.name {
			continue
		}
		for _, d := range other.Decls {
			if fd, ok := d.(*ast.FuncDecl); ok && fd.Name.Name == function {
				ast.Inspect(fd, func(n ast.Node) bool {
					if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) > 0 {
						all = append(all, s.texts(other, r.Results[0])...)
					}
					return true
				})
			}
		}
	}
	return all
}

func (s *codeScan) texts(f *sourceFile, e ast.Expr) []string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, ok := literal(e); ok {
			return []string{text}
		}
	case *ast.Ident:
		if text := s.consts[f.name+"."+e.Name]; text != "" {
			return []string{text}
		}
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok && s.consts[x.Name+"."+e.Sel.Name] != "" {
			return []string{s.consts[x.Name+"."+e.Sel.Name]}
		}
	}
	return nil
}

func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func parameters(f *ast.FuncType) (names []string) {
	for _, p := range f.Params.List {
		for _, n := range p.Names {
			names = append(names, n.Name)
		}
	}
	return names
}

var filledIn = regexp.MustCompile(`%[-+.0-9]*[a-z]`)

// codeTable is every code with the statuses and the message that the sources give it.
func codeTable(t *testing.T) string {
	found := errorCodes(t)
	var b strings.Builder
	b.WriteString("| code | status | from | says, for one |\n|---|---|---|---|\n")
	for _, code := range slices.SortedFunc(maps.Keys(found), func(a, b string) int { return cmp.Compare(strings.ToLower(a), strings.ToLower(b)) }) {
		c := found[code]
		says := strings.NewReplacer("|", "¦", "\n", " ", "%%", "%").Replace(filledIn.ReplaceAllString(c.says, "…"))
		if !strings.ContainsAny(says, "abcdefghijklmnopqrstuvwxyz") {
			says = ""
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", code, strings.Join(slices.Sorted(maps.Keys(c.statuses)), ", "), strings.Join(slices.Sorted(maps.Keys(c.areas)), ", "), says)
	}
	return b.String()
}
