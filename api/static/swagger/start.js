// Ocelot's own: a file, because the page's Content-Security-Policy allows no inline script.
SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: "openapi.json",
  deepLinking: true,
  tryItOutEnabled: true,
  persistAuthorization: false, // a token stays out of the browser's storage
  validatorUrl: null, // the default sends the description to a validator on the internet
});
