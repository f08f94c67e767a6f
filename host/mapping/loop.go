package mapping

import (
	"fmt"
	"reflect"
	"regexp"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
)

// An expression always ends, but one that goes through a list for each element
// of a list need not end today: expr bounds memory, not time. So lists that are
// gone through have an end, a nearer one the deeper predicates are nested.
var mostElements = []int{0: 0, 1: 10_000, 2: 300, 3: 40}

// longestPattern bounds a regular expression: Go's take the time of pattern
// times text.
const longestPattern = 1000

const (
	elementsName = "__elements"
	matchesName  = "__matches"
)

// loops puts the bounds into one expression.
type loops struct {
	depth int // of predicates inside predicates; known when all is visited
	// below is the depth of each predicate; inner ones are visited first.
	below map[*ast.PredicateNode]int
	err   error
}

// functions are what the bounds are made of, for the one expression.
func (l *loops) functions() []expr.Option {
	return []expr.Option{
		expr.Function(elementsName, l.elements, new(func(any) any)),
		expr.Function(matchesName, matches, new(func(any, any) bool)),
	}
}

func (l *loops) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.PredicateNode:
		inner := &deepest{below: l.below}
		ast.Walk(&n.Node, inner)
		if l.below == nil {
			l.below = map[*ast.PredicateNode]int{}
		}
		l.below[n] = inner.most + 1
		l.depth = max(l.depth, l.below[n])
		if l.depth >= len(mostElements) {
			l.err = fmt.Errorf("has predicates inside one another, %d deep; %d is the most", l.depth, len(mostElements)-1)
		}
	case *ast.BuiltinNode:
		if len(n.Arguments) < 2 {
			return
		}
		if _, ok := n.Arguments[1].(*ast.PredicateNode); ok {
			n.Arguments[0] = &ast.CallNode{Callee: &ast.IdentifierNode{Value: elementsName}, Arguments: []ast.Node{n.Arguments[0]}}
		}
	case *ast.BinaryNode:
		if n.Operator != "matches" {
			return
		}
		if text, ok := n.Right.(*ast.StringNode); ok {
			if len(text.Value) > longestPattern {
				l.err = errLongPattern
			}
			return
		}
		ast.Patch(node, &ast.CallNode{Callee: &ast.IdentifierNode{Value: matchesName}, Arguments: []ast.Node{n.Left, n.Right}})
	}
}

var errLongPattern = fmt.Errorf("has a regular expression of more than %d bytes", longestPattern)

// deepest finds the depth of the predicates below a node.
type deepest struct {
	below map[*ast.PredicateNode]int
	most  int
}

func (d *deepest) Visit(node *ast.Node) {
	if p, ok := (*node).(*ast.PredicateNode); ok {
		d.most = max(d.most, d.below[p])
	}
}

func (l *loops) elements(args ...any) (any, error) {
	r := reflect.ValueOf(args[0])
	if k := r.Kind(); k != reflect.Slice && k != reflect.Array && k != reflect.Map {
		return args[0], nil // expr says what is wrong with it
	}
	if most := mostElements[min(l.depth, len(mostElements)-1)]; r.Len() > most {
		return nil, fmt.Errorf("goes through a list of %d elements; %d is the most", r.Len(), most)
	}
	return args[0], nil
}

// matches is the operator with a pattern that is known only when it runs.
func matches(args ...any) (any, error) {
	text, ok := args[0].(string)
	pattern, is := args[1].(string)
	switch {
	case args[0] == nil || args[1] == nil:
		return false, nil
	case !ok || !is:
		return nil, fmt.Errorf("can't match %s with %s", kindOf(args[0]), kindOf(args[1]))
	case len(pattern) > longestPattern:
		return nil, errLongPattern
	case len(text) > longest:
		return nil, errTooLong
	}
	return regexp.MatchString(pattern, text)
}
