// QuickJS in a guest on Extism's Rust PDK: what a JavaScript PDK is made of.
use extism_pdk::{plugin_fn, Error, FnResult, HttpRequest, WithReturnCode};
use rquickjs::{CatchResultExt, CaughtError, Context, Ctx, Exception, Function, Object, Runtime, TypedArray, Value};
use std::collections::BTreeMap;

fn thrown<'js>(ctx: &Ctx<'js>, e: impl std::fmt::Display) -> rquickjs::Error {
    Exception::throw_message(ctx, &e.to_string())
}

fn copy(bytes: &TypedArray<u8>) -> Vec<u8> {
    // Safe: no JavaScript runs before the copy is made, so nothing can detach or change the buffer.
    unsafe { bytes.as_bytes() }.unwrap_or_default().to_vec()
}

fn host<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let host = Object::new(ctx.clone())?;
    host.set(
        "text",
        Function::new(ctx.clone(), |bytes: TypedArray<u8>| String::from_utf8_lossy(&copy(&bytes)).into_owned())?,
    )?;
    host.set(
        "config",
        Function::new(ctx.clone(), |ctx: Ctx<'js>, key: String| extism_pdk::config::get(&key).map_err(|e| thrown(&ctx, e)))?,
    )?;
    host.set(
        "getVar",
        Function::new(ctx.clone(), |ctx: Ctx<'js>, name: String| -> rquickjs::Result<Option<TypedArray<'js, u8>>> {
            let value: Option<Vec<u8>> = extism_pdk::var::get(&name).map_err(|e| thrown(&ctx, e))?;
            value.map(|v| TypedArray::new(ctx, v)).transpose()
        })?,
    )?;
    host.set(
        "setVar",
        Function::new(ctx.clone(), |ctx: Ctx<'js>, name: String, value: TypedArray<'js, u8>| {
            extism_pdk::var::set(&name, copy(&value)).map_err(|e| thrown(&ctx, e))
        })?,
    )?;
    host.set(
        "log",
        Function::new(ctx.clone(), |level: String, line: String| match level.as_str() {
            "debug" => extism_pdk::debug!("{}", line),
            "info" => extism_pdk::info!("{}", line),
            "warn" => extism_pdk::warn!("{}", line),
            _ => extism_pdk::error!("{}", line),
        })?,
    )?;
    host.set(
        "http",
        Function::new(
            ctx.clone(),
            |ctx: Ctx<'js>, method: String, url: String, headers: BTreeMap<String, String>, body: String| -> rquickjs::Result<Object<'js>> {
                let mut request = HttpRequest::new(url).with_method(method);
                for (name, value) in headers {
                    request = request.with_header(name, value);
                }
                let answer = extism_pdk::http::request(&request, Some(body)).map_err(|e| thrown(&ctx, e))?;
                let object = Object::new(ctx.clone())?;
                object.set("status", answer.status_code())?;
                object.set("body", TypedArray::new(ctx, answer.body())?)?;
                Ok(object)
            },
        )?,
    )?;
    Ok(host)
}

fn call<'js>(ctx: &Ctx<'js>, name: &str, input: Vec<u8>) -> rquickjs::Result<Vec<u8>> {
    let globals = ctx.globals();
    globals.set("host", host(ctx)?)?;
    ctx.eval::<(), _>(include_str!("guest.js"))?;
    let function: Function = globals.get(name)?;
    let output: Value = function.call((TypedArray::new(ctx.clone(), input)?,))?;
    if let Some(text) = output.as_string() {
        return Ok(text.to_string()?.into_bytes());
    }
    Ok(copy(&TypedArray::from_value(output)?))
}

fn run(name: &str, input: Vec<u8>) -> FnResult<Vec<u8>> {
    let failed = |message: String| WithReturnCode::new(Error::msg(message), 1);
    let runtime = Runtime::new().map_err(|e| failed(e.to_string()))?;
    runtime.set_max_stack_size(512 << 10); // of the 1 MiB that a module's stack has
    let context = Context::full(&runtime).map_err(|e| failed(e.to_string()))?;
    context.with(|ctx| {
        call(&ctx, name, input).catch(&ctx).map_err(|e| {
            failed(match e {
                CaughtError::Exception(e) => e.message().unwrap_or_default(),
                other => other.to_string(),
            })
        })
    })
}

macro_rules! exported {
    ($($name:ident)*) => { $(
        #[plugin_fn]
        pub fn $name(input: Vec<u8>) -> FnResult<Vec<u8>> {
            run(stringify!($name), input)
        }
    )* };
}

exported! { echo shout config vars log http fail panic }

#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn clock_time_get(clock: u32, precision: u64, nanoseconds: *mut u64) -> u32;
}

/// Microseconds since 1970: the one thing that QuickJS needs of a system.
#[no_mangle]
pub extern "C" fn __rquickjs_host_now_us() -> f64 {
    let mut nanoseconds = 0;
    // Safe: the pointer is to a number of ours. Without a clock it is 1970.
    unsafe { clock_time_get(0, 1000, &mut nanoseconds) };
    (nanoseconds / 1000) as f64
}
