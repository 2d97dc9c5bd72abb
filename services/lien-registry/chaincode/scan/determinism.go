package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// clockFile is the one file that may look at the machine's clock: what it tells only ever refuses a transaction.
const clockFile = "clock.go"

// Packages whose results differ between machines or runs.
var forbiddenImports = []string{
	"crypto/rand", "maps", "math", "math/rand", "math/rand/v2", "net", "net/http", "os", "os/exec", "runtime", "sync", "sync/atomic", "syscall", "unsafe",
}

// What of package time depends on when or where it runs; parsing and arithmetic don't.
var forbiddenTime = []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer", "Sleep", "Local", "LoadLocation"}

// What of the stub the peers don't check again at commit, so that a write must not depend on it.
var uncheckedReads = []string{
	"GetStateByRangeWithPagination", "GetStateByPartialCompositeKeyWithPagination", "GetQueryResult", "GetQueryResultWithPagination",
	"GetHistoryForKey", "GetPrivateDataQueryResult",
}

// Functions that only reads call; a test of the chaincode shows that.
var readHelpers = []string{"page", "history"}

// determinism finds, by type, what could make two endorsers answer the same call differently.
func determinism(home, pattern string) result {
	done := result{title: "Determinism of " + pattern}
	packages, exports, err := load(home, pattern)
	if err != nil {
		done.failed = err
		return done
	}
	for _, one := range packages {
		findings, err := checkPackage(one, exports)
		if err != nil {
			done.failed = err
			return done
		}
		done.findings = append(done.findings, findings...)
	}
	slices.Sort(done.findings)
	return done
}

// listed is what `go list` says of a package.
type listed struct {
	ImportPath string
	Dir        string
	Export     string
	GoFiles    []string
	DepOnly    bool
}

// load returns the packages to check and, for those they import, the files with their types.
func load(home, pattern string) ([]listed, map[string]string, error) {
	command := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,DepOnly", pattern) // #nosec G204 -- our own pattern
	command.Dir = home
	output, err := command.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, nil, err
	}
	packages, exports := []listed{}, map[string]string{}
	decoder := json.NewDecoder(bytes.NewReader(output))
	for {
		var one listed
		if err := decoder.Decode(&one); err == io.EOF {
			return packages, exports, nil
		} else if err != nil {
			return nil, nil, err
		}
		exports[one.ImportPath] = one.Export
		if !one.DepOnly {
			packages = append(packages, one)
		}
	}
}

func checkPackage(one listed, exports map[string]string) ([]string, error) {
	files := token.NewFileSet()
	parsed := []*ast.File{}
	for _, name := range one.GoFiles {
		file, err := parser.ParseFile(files, filepath.Join(one.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, file)
	}
	open := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: importer.ForCompiler(files, "gc", open)}
	checked, err := config.Check(one.ImportPath, files, parsed, info)
	if err != nil {
		return nil, err
	}
	found := &check{files: files, info: info, checked: checked}
	for _, file := range parsed {
		found.inspect(file)
	}
	return found.findings, nil
}

type check struct {
	files    *token.FileSet
	info     *types.Info
	checked  *types.Package
	function string
	findings []string
}

func (c *check) add(at token.Pos, format string, values ...any) {
	position := c.files.Position(at)
	c.findings = append(c.findings, fmt.Sprintf("%s:%d: %s", filepath.Base(position.Filename), position.Line, fmt.Sprintf(format, values...)))
}

func (c *check) inspect(file *ast.File) {
	for _, imported := range file.Imports {
		if path := strings.Trim(imported.Path.Value, `"`); slices.Contains(forbiddenImports, path) {
			c.add(imported.Pos(), "imports %s, which answers differently from run to run or machine to machine", path)
		}
	}
	for _, declaration := range file.Decls {
		c.function = ""
		if function, ok := declaration.(*ast.FuncDecl); ok {
			c.function = function.Name.Name
		}
		ast.Inspect(declaration, c.node)
	}
}

func (c *check) node(node ast.Node) bool {
	switch node := node.(type) {
	case *ast.RangeStmt:
		if c.is(node.X, func(kind types.Type) bool { _, yes := kind.(*types.Map); return yes }) {
			c.add(node.Pos(), "ranges over a map, whose order is random")
		}
	case *ast.GoStmt:
		c.add(node.Pos(), "starts a goroutine, whose order of work is random")
	case *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
		c.add(node.Pos(), "uses channels, whose order of work is random")
	case *ast.SelectorExpr:
		c.selector(node)
	case *ast.AssignStmt:
		for _, left := range node.Lhs {
			c.assigned(left)
		}
	case *ast.IncDecStmt:
		c.assigned(node.X)
	case ast.Expr:
		if c.is(node, isFloat) {
			c.add(node.Pos(), "uses a floating-point number")
			return false
		}
	}
	return true
}

func (c *check) is(expression ast.Expr, what func(types.Type) bool) bool {
	kind := c.info.TypeOf(expression)
	return kind != nil && what(kind.Underlying())
}

func isFloat(kind types.Type) bool {
	basic, yes := kind.(*types.Basic)
	return yes && basic.Info()&(types.IsFloat|types.IsComplex) != 0
}

func (c *check) selector(node *ast.SelectorExpr) {
	used := c.info.Uses[node.Sel]
	if used == nil || used.Pkg() == nil {
		return
	}
	name, from := used.Name(), used.Pkg().Path()
	inClock := filepath.Base(c.files.Position(node.Pos()).Filename) == clockFile
	if from == "time" && slices.Contains(forbiddenTime, name) && !inClock {
		c.add(node.Pos(), "time.%s depends on where and when it runs", name)
	}
	if strings.HasSuffix(from, "/shim") && slices.Contains(uncheckedReads, name) && !slices.Contains(readHelpers, c.function) {
		c.add(node.Pos(), "%s isn't checked again at commit: only reads may use it", name)
	}
}

// assigned finds state that would live on in the process, from one call to the next, where no other endorser has it.
func (c *check) assigned(left ast.Expr) {
	for {
		switch inner := left.(type) {
		case *ast.IndexExpr:
			left = inner.X
		case *ast.SelectorExpr:
			left = inner.X
		case *ast.StarExpr:
			left = inner.X
		case *ast.ParenExpr:
			left = inner.X
		case *ast.Ident:
			if variable, ok := c.info.Uses[inner].(*types.Var); ok && variable.Parent() == c.checked.Scope() {
				c.add(inner.Pos(), "changes the package variable %s, which other endorsers don't have", inner.Name)
			}
			return
		default:
			return
		}
	}
}
