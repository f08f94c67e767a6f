// A SCIM server by other authors, in memory: scimmy with its Express routers.
// It listens on a free loopback port and prints its URL. TOKEN is the bearer
// token that every request must carry.
import express from "express";
import SCIMMY from "scimmy";
import SCIMMYRouters from "scimmy-routers";

const users = new Map();
let next = 1;

SCIMMY.Resources.declare(SCIMMY.Resources.User)
    .extend(SCIMMY.Schemas.EnterpriseUser, false)
    .ingress((resource, data) => {
        const taken = [...users.values()].find((u) => u.userName.toLowerCase() === data.userName.toLowerCase() && u.id !== resource.id);
        if (taken) throw new SCIMMY.Types.Error(409, "uniqueness", `userName ${data.userName} is taken`);
        if (resource.id && !users.has(resource.id)) throw new SCIMMY.Types.Error(404, null, `no user ${resource.id}`);
        const id = resource.id ?? `s-${next++}`;
        const now = new Date();
        const user = { ...JSON.parse(JSON.stringify(data)), id, meta: { created: users.get(id)?.meta.created ?? now, lastModified: now } };
        users.set(id, user);
        return user;
    })
    .egress((resource) => {
        if (resource.id) {
            if (!users.has(resource.id)) throw new SCIMMY.Types.Error(404, null, `no user ${resource.id}`);
            return users.get(resource.id);
        }
        const all = [...users.values()];
        return resource.filter ? resource.filter.match(all) : all;
    })
    .degress((resource) => {
        if (!users.delete(resource.id)) throw new SCIMMY.Types.Error(404, null, `no user ${resource.id}`);
    });

const app = express();
app.use("/scim/v2", new SCIMMYRouters({
    type: "bearer",
    handler: (request) => {
        if (request.header("Authorization") !== `Bearer ${process.env.TOKEN}`) throw new Error("a bearer token is needed");
        return "tester";
    },
}));
const server = app.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/scim/v2`));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0)); // whoever started it is gone
