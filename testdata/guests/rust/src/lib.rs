// A guest on Extism's Rust PDK.
use extism_pdk::*;

#[plugin_fn]
pub fn echo(input: Vec<u8>) -> FnResult<Vec<u8>> {
    Ok(input)
}

#[plugin_fn]
pub fn shout(input: Vec<u8>) -> FnResult<Vec<u8>> {
    Ok(input.to_ascii_uppercase())
}

#[plugin_fn]
pub fn config(key: String) -> FnResult<String> {
    match extism_pdk::config::get(&key)? {
        Some(value) => Ok(value),
        None => Err(WithReturnCode::new(Error::msg("there is no such key"), 1)),
    }
}

#[plugin_fn]
pub fn vars(input: Vec<u8>) -> FnResult<Vec<u8>> {
    let mut kept: Vec<u8> = var::get("kept")?.unwrap_or_default();
    kept.push(b'+');
    kept.extend(&input);
    var::set("kept", &kept)?;
    Ok(var::get("kept")?.unwrap_or_default())
}

#[plugin_fn]
pub fn log(line: String) -> FnResult<String> {
    debug!("{}", line);
    info!("{}", line);
    warn!("{}", line);
    error!("{}", line);
    Ok(line)
}

#[plugin_fn]
pub fn http(url: String) -> FnResult<Vec<u8>> {
    let request = HttpRequest::new(url)
        .with_method("POST")
        .with_header("x-guest", "rust")
        .with_header("content-type", "text/plain");
    let answer = http::request(&request, Some("hello from the guest"))?;
    let mut out = format!("{} ", answer.status_code()).into_bytes();
    out.extend(answer.body());
    Ok(out)
}

#[plugin_fn]
pub fn fail(input: String) -> FnResult<()> {
    Err(WithReturnCode::new(Error::msg(format!("it failed: {}", input)), 1))
}

#[plugin_fn]
pub fn panic() -> FnResult<()> {
    panic!("boom")
}
