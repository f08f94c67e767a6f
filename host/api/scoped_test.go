package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// hostWide are the methods that only those routes lead to which are for the
// whole host, or that tell of nothing but the subject itself.
var hostWide = []string{
	"AssignRole", "Assignments", "AuditLines", "Backup", "Administrators", "BeginOnce", "CompleteAuthorization", "CreateAdministrator", "CreateToken", "Declared",
	"CreateOwnToken", "DeleteAdministrator", "DeleteUser", "Diff", "Doctor", "EndOnce", "EndSession", "EraseUser", "Grant", "ImportUsers", "Me", "OwnTokens", "Prune", "PutUser", "Release", "Reload",
	"ResetPassword", "ResetTOTP", "RevokeOwnToken", "RevokeToken", "RollBack", "RotateCredential", "Sessions", "SupportBundle", "System", "TestChannel", "Tokens", "UnassignRole", "UploadConnector", "VerifyAudit",
	// Which connectors there are, and what they can, is for all who may view the
	// setup.
	"ConnectorLog", "ConnectorUse", "Description", "Trends",
}

func TestEveryMethodOfTheServiceIsScopedOrForTheWholeHost(t *testing.T) {
	files, err := filepath.Glob("scoped*.go")
	require.NoError(t, err)
	var own []string
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.IsExported() {
				own = append(own, f.Name.Name)
			}
		}
	}
	service := reflect.TypeFor[Service]()
	for i := range service.NumMethod() {
		name := service.Method(i).Name
		require.True(t, slices.Contains(own, name) != slices.Contains(hostWide, name),
			"%s: say in scoped.go whose it is, or in hostWide that all routes to it are for the whole host", name)
	}
}
