package host

// Approver says who must approve a request; the zero value is nobody.
type Approver struct {
	Needed bool
	// One of these: the user's manager, any member of a group, one user.
	Manager  bool
	Group    string
	Username string
}

// NeedsApproval tells whether an app's operation is one that is approved. An
// operation that changes nothing is only where it is named.
func (c *UserProvisioningConfig) NeedsApproval(op Operation) bool {
	if c.ApprovalRequired == "" {
		return false
	}
	for _, named := range c.ApprovalOperations {
		if named == op {
			return true
		}
	}
	return len(c.ApprovalOperations) == 0 && op.EnabledBy() != ""
}
